// Runs a file that optimises an image: optimise.mjs FOLDER MODEL START SHAPE STEPS PICTURE; START and PICTURE hold float32.
import { createRequire } from "node:module";
import { readFile, writeFile } from "node:fs/promises";

const [folder, model, start, shape, steps, picture] = process.argv.slice(2);
const ort = createRequire(`${folder}/`)("onnxruntime-node");
const bytes = await readFile(start);
const session = await ort.InferenceSession.create(model);
const found = await session.run({
  image: new ort.Tensor("float32", new Float32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4), JSON.parse(shape)),
  steps: new ort.Tensor("int64", BigInt64Array.of(BigInt(steps)), [1]),
});
await writeFile(picture, Buffer.from(found.picture.data.buffer, found.picture.data.byteOffset, found.picture.data.byteLength));
console.log(JSON.stringify({ dims: found.picture.dims, objective: found.objective.data[0] }));
