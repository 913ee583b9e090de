// Opens a page in Chromium, waits until it has explained its image, and prints what it shows as JSON.
import { createRequire } from "node:module";

const [folder, executable, url, target] = process.argv.slice(2);
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
  const settled = () => page.waitForFunction(
    () => ["done", "error"].includes(document.body.dataset.state), null, { timeout: 240_000 });
  const shown = async () => ({
    state: await page.evaluate(() => document.body.dataset.state),
    status: await page.textContent("#status"),
    classes: await page.$$eval("#classes li", (items) => items.map((item) => Number(item.dataset.class))),
    names: await page.$$eval("#classes li", (items) => items.map((item) => item.firstChild.textContent)),
    scores: await page.$$eval("#classes li", (items) => items.map((item) => Number(item.children[1].textContent))),
    hottest: await page.textContent("#hottest"),
  });
  await page.goto(url);
  await settled();
  const first = await shown();
  let second = null;
  if (target) {
    await page.selectOption("#target", target);
    await settled();
    second = await shown();
  }
  console.log(JSON.stringify({ first, second, asked, errors }));
} finally {
  await browser.close();
}
