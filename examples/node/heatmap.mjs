// Runs a compiled model on an image and writes its heat map, with ONNX Runtime and nothing else.
//
//     onnxray compile model.onnx --preprocess --normalize uint8 --out explained.onnx
//     npm install --ignore-scripts
//     node heatmap.mjs explained.onnx photo.ppm heat.pgm
//
// Images are PPM and PGM files (binary): `magick photo.jpg photo.ppm` makes one, any viewer shows the other. The model
// does the rest: it takes the pixels as they are, and gives one byte of heat for each of them.

import { readFile, writeFile } from "node:fs/promises";
import * as ort from "onnxruntime-node";

const [model, image, heat] = process.argv.slice(2);
if (!heat) {
  console.error("usage: node heatmap.mjs MODEL.onnx IMAGE.ppm HEAT.pgm");
  process.exit(2);
}

/** The pixels of a binary PPM with 8 bits a channel: { width, height, data }, RGB. */
function parsePpm(bytes) {
  const head = /^P6\s+(?:#.*\s+)*(\d+)\s+(?:#.*\s+)*(\d+)\s+(?:#.*\s+)*255\s/.exec(bytes.toString("latin1", 0, 1024));
  if (!head) throw new Error("not a binary PPM with 8 bits a channel");
  const [width, height] = [Number(head[1]), Number(head[2])];
  const data = new Uint8Array(bytes.subarray(head[0].length, head[0].length + 3 * width * height));
  if (data.length !== 3 * width * height) throw new Error("the PPM is truncated");
  return { width, height, data };
}

const { width, height, data } = parsePpm(await readFile(image));
const session = await ort.InferenceSession.create(model);
const input = session.inputNames.find((name) => name !== "target_class");
const feeds = { [input]: new ort.Tensor("uint8", data, [height, width, 3]) };
if (session.inputNames.includes("target_class")) {
  feeds.target_class = new ort.Tensor("int64", BigInt64Array.of(-1n), [1]); // the predicted class
}
const found = await session.run(feeds);

const map = found.saliency_map;
if (map.type !== "uint8") throw new Error("the model was compiled without --normalize uint8");
const [, , rows, columns] = map.dims;
await writeFile(heat, Buffer.concat([Buffer.from(`P5\n${columns} ${rows}\n255\n`), Buffer.from(map.data)]));

let hottest = 0;
for (let i = 0; i < map.data.length; i++) if (map.data[i] > map.data[hottest]) hottest = i;
console.log(`${heat}: ${columns} x ${rows}, most heat at x ${hottest % columns}, y ${Math.floor(hottest / columns)}`);
