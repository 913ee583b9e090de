// Opens a live page, shows it an image, a class, a layer and a unit, and prints what it found as JSON.
import { createRequire } from "node:module";

const [folder, executable, url, image, target, layer, unit] = process.argv.slice(2);
const { chromium } = createRequire(`${folder}/`)("playwright-core");
const browser = await chromium.launch({
  executablePath: executable,
  args: [
    ..."--no-sandbox --disable-gpu --disable-quic --no-first-run".split(" "),
    ..."--disable-background-networking --disable-component-update --disable-sync".split(" "),
    ..."--use-fake-device-for-media-stream --use-fake-ui-for-media-stream".split(" "),
  ],
});
try {
  const page = await browser.newPage();
  const asked = [], errors = [];
  page.on("request", (request) => asked.push(request.url()));
  page.on("pageerror", (error) => errors.push(`${error}`));
  const until = (condition) => page.waitForFunction(condition, null, { timeout: 240_000 });
  const settled = () => until(() => ["done", "error"].includes(document.body.dataset.state));
  const shown = () => page.evaluate(() => {
    const found = window.ONNXRAY_LIVE.found();
    return {
      state: document.body.dataset.state,
      status: document.getElementById("status").textContent,
      layer: found.of.name,
      unit: document.getElementById("unit").value,
      address: document.getElementById("unit-page").getAttribute("href"),
      answer: document.querySelector("#classes th").textContent,
      size: [found.shown.height, found.shown.width],
      cam: Array.from(found.cam),
      heat: found.heat && Array.from(found.heat),
      scores: found.scores,
    };
  });
  await page.goto(url);
  await until(() => ["ready", "done", "error"].includes(document.body.dataset.state));
  await page.evaluate(() => { document.body.dataset.state = ""; });
  await page.setInputFiles("#file", image);
  await settled();
  const first = await shown();
  await page.evaluate(() => { document.body.dataset.state = ""; });
  await page.selectOption("#target", target);
  await settled();
  await page.evaluate(() => { document.body.dataset.state = ""; });
  await page.selectOption("#layer", { label: layer });
  await settled();
  await page.fill("#unit", unit);
  const second = await shown();
  await page.click("#camera");
  await until(() => window.ONNXRAY_LIVE.found().shown.width === 480);
  await page.click("#camera");
  const third = await shown();
  console.log(JSON.stringify({ first, second, third, asked, errors }));
} finally {
  await browser.close();
}
