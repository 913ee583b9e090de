// Opens the page of a file that optimises an image in Chromium, waits for its picture, and prints the pixels as JSON.
import { createRequire } from "node:module";

const [folder, executable, url] = process.argv.slice(2);
const { chromium } = createRequire(`${folder}/`)("playwright-core");
const browser = await chromium.launch({
  executablePath: executable,
  args: [
    ..."--no-sandbox --disable-gpu --disable-quic --no-first-run".split(" "),
    ..."--disable-background-networking --disable-component-update --disable-sync".split(" "),
  ],
});
try {
  const page = await browser.newPage();
  const asked = [], errors = [];
  page.on("request", (request) => asked.push(request.url()));
  page.on("pageerror", (error) => errors.push(`${error}`));
  await page.goto(url);
  await page.waitForFunction(
    () => ["done", "error"].includes(document.body.dataset.state), null, { timeout: 240_000 });
  const shown = await page.evaluate(() => {
    const pixels = (id) => {
      const canvas = document.getElementById(id);
      return [...canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data];
    };
    const { width, height } = document.getElementById("canvas");
    return {
      state: document.body.dataset.state,
      status: document.getElementById("status").textContent,
      steps: Number(document.getElementById("steps").value),
      size: [height, width],
      start: pixels("original"),
      picture: pixels("canvas"),
    };
  });
  console.log(JSON.stringify({ ...shown, asked, errors }));
} finally {
  await browser.close();
}
