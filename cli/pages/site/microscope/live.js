"use strict";
// Runs the model in the browser: maps of a layer, Grad-CAM of a class and the heat of a unit, of photos and the webcam.
// Everything is loaded by script elements, model and runtime in base64: pages from disk may fetch nothing.
(() => {
  const facts = window.ONNXRAY_LIVE, at = (id) => document.getElementById(id);
  const LARGEST = 1024, FRAME = 480, TILE = 48;  // pixels: longer side of photos, of camera frames; sides of maps
  let session, provider, note = "", picture, found, running = false, again = false, camera = null, picked = false;

  const bytes = (text) => Uint8Array.fromBase64?.(text) ?? Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const load = (name) => new Promise((done, failed) => {
    const element = Object.assign(document.createElement("script"), { src: name, onload: done });
    element.onerror = () => failed(new Error(`${name} cannot be read: copy the whole site, or serve it (python -m http.server)`));
    document.head.append(element);
  });

  function say(text, state) {
    at("status").textContent = text;
    at("status").className = state === "error" ? "note" : "lead";
    document.body.dataset.state = state;
  }
  async function guarded(action) {
    try { await action(); } catch (error) { say(`${error.message ?? error}`, "error"); }
  }

  // WebGPU where the browser has it and its files are here, else WebAssembly.
  async function open() {
    const wanted = new URLSearchParams(location.search).get("provider");
    const adapter = facts.webgpu && wanted !== "wasm" && navigator.gpu ? await navigator.gpu.requestAdapter() : null;
    if (!adapter) return start("wasm");
    try { await start("webgpu"); } catch (error) { await withoutGpu(error); }
  }
  async function withoutGpu(error) {
    note = `WebGPU does not run this model (${error.message ?? error}). `;
    await start("wasm");
  }
  async function start(name) {
    await load(`ort/ort.${name}.min.js`);
    await load(`ort/${name}.js`);
    const { mjs, wasm } = facts.runtime[name], settings = window.ort.env.wasm;
    settings.numThreads = 1;
    settings.wasmPaths = { mjs: URL.createObjectURL(new Blob([bytes(mjs)], { type: "text/javascript" })) };
    settings.wasmBinary = bytes(wasm).buffer;
    const gpu = { name: "webgpu", forceCpuNodeNames: facts.cpu_nodes };
    session = await window.ort.InferenceSession.create(bytes(facts.model), {
      executionProviders: name === "webgpu" ? [gpu, "wasm"] : ["wasm"],
    });
    provider = name === "webgpu" ? "WebGPU" : "WebAssembly";
  }
  async function run(...given) {
    try { return await session.run(...given); } catch (error) {
      if (provider !== "WebGPU") throw error;
      await withoutGpu(error);
      return session.run(...given);
    }
  }

  function pixelsOf(source, width, height, largest) {
    const scale = Math.min(1, largest / Math.max(width, height));
    const [w, h] = [width, height].map((side) => Math.max(1, Math.round(side * scale)));
    const context = Object.assign(document.createElement("canvas"), { width: w, height: h }).getContext("2d", { willReadFrequently: true });
    context.fillStyle = "#fff";
    context.fillRect(0, 0, w, h);
    context.drawImage(source, 0, 0, w, h);
    return context.getImageData(0, 0, w, h);
  }
  async function look(source) {
    const bitmap = await createImageBitmap(source);
    if (!picked) at("unit").value = "";  // each photo shows the unit that it excites most, until somebody picks one
    picture = pixelsOf(bitmap, bitmap.width, bitmap.height, LARGEST);
    await explain();
  }

  const layer = () => facts.layers[at("layer").value];
  const unit = () => Number(at("unit").value);

  // What is asked for while the model runs is done after it, once.
  async function explain() {
    if (!picture || running) { again = running; return; }
    running = true;
    if (!camera) say("Running …", "busy");
    try {
      const { width, height, data } = picture, rgb = new Uint8Array(width * height * 3);
      for (let i = 0, j = 0; i < data.length; i += 4) { rgb[j++] = data[i]; rgb[j++] = data[i + 1]; rgb[j++] = data[i + 2]; }
      const { Tensor } = window.ort, shown = picture, of = layer();
      const feeds = {
        [facts.input]: new Tensor("uint8", rgb, [height, width, 3]),
        [facts.target]: new Tensor("int64", BigInt64Array.of(BigInt(at("target").value)), [1]),
      };
      const begun = performance.now();
      const got = await run(feeds, [...new Set([facts.scores.output, facts.map, facts.place, of.value])]);
      const took = Math.round(performance.now() - begun), map = got[facts.map], place = Array.from(got[facts.place].data, Number);
      const cam = onImage(map.data, map.dims.slice(-2), place, shown);
      found = { shown, of, place, cam, values: got[of.value], scores: Array.from(got[facts.scores.output].data, Number) };
      paint();
      say(`${note}${width} × ${height} pixels, ${took} ms on ${provider}.`, "done");
    } finally { running = false; }
    if (again) { again = false; await explain(); }
  }

  // A map (h, w) over the model's plane on the pixels of the image: per axis, the cells around each pixel with their weights.
  function onImage(values, [h, w], place, { width, height }) {
    const rows = taps(height, h, place[0], place[2], facts.plane[0]), columns = taps(width, w, place[1], place[3], facts.plane[1]);
    const wide = new Float32Array(h * width), all = new Float32Array(height * width);
    for (let y = 0; y < h; y++) for (let x = 0; x < width; x++) {
      for (const [cell, weight] of columns[x]) wide[y * width + x] += weight * values[y * w + cell];
    }
    for (let y = 0; y < height; y++) for (const [cell, weight] of rows[y]) {
      for (let x = 0; x < width; x++) all[y * width + x] += weight * wide[cell * width + x];
    }
    return all;
  }
  function taps(pixels, cells, scaled, offset, side) {
    const step = Math.max(1, scaled / pixels * cells / side);
    return Array.from({ length: pixels }, (_, pixel) => {
      const place = (pixel + 0.5) * scaled / pixels + offset, list = [];
      if (place < 0 || place >= side) return list;
      const centre = place * cells / side;
      for (let cell = Math.max(0, Math.floor(centre - step - 0.5)); cell < Math.min(cells, centre + step + 0.5); cell++) {
        const weight = 1 - Math.abs(cell + 0.5 - centre) / step;
        if (weight > 0) list.push([cell, weight]);
      }
      const sum = list.reduce((total, [, weight]) => total + weight, 0);
      return list.map(([cell, weight]) => [cell, weight / sum]);
    });
  }

  // The values (units, places) of a layer as a function, whatever its axes are.
  function reader({ of, values }) {
    const { dims, data } = values, strides = dims.map((_, axis) => dims.slice(axis + 1).reduce((a, b) => a * b, 1));
    const count = of.axes.reduce((total, axis) => total * dims[axis], 1);
    const places = Array.from({ length: count }, (_, place) => {
      let offset = 0;
      for (const axis of [...of.axes].reverse()) { offset += place % dims[axis] * strides[axis]; place = Math.floor(place / dims[axis]); }
      return offset;
    });
    const order = of.order ? of.order.map((place) => places[place]) : places;
    return { count: order.length, value: (number, place) => Number(data[number * strides[of.channel] + order[place]]) };
  }

  function paint() {
    if (!found) return;
    list();
    overlay("cam", found.cam, at("cam-says"), "the class has no heat anywhere");
    at("cam-says").prepend(`Layer ${facts.method_layer}; `);
    const { of } = found, read = reader(found);
    at("unit").max = of.count - 1;
    if (at("unit").value === "") at("unit").value = strongest(read, of);
    const number = Math.max(0, Math.min(unit() || 0, of.count - 1));
    const own = Float32Array.from({ length: read.count }, (_, place) => read.value(number, place));
    const most = own.reduce((a, b) => Math.max(a, b), -Infinity);
    found.heat = of.grid.length === 2 ? onImage(own, of.grid, found.place, found.shown) : null;
    overlay("heat", found.heat, at("heat-says"), found.heat ? "the unit is not above 0 anywhere" : "the layer has one number for the whole image");
    at("heat-says").prepend(`Greatest value ${most.toPrecision(4)}; `);
    const address = of.units.includes(number) ? `../layers/${of.slug}/${number}.html` : `../layers/${of.slug}/index.html`;
    Object.assign(at("unit-page"), { href: address, textContent: `Page of ${of.name} ${number}` });
    sheet(read, number);
  }

  function strongest(read, of) {
    let best = 0, most = -Infinity;
    for (let u = 0; u < of.count; u++) for (let p = 0; p < read.count; p++) {
      if (read.value(u, p) > most) [best, most] = [u, read.value(u, p)];
    }
    return best;
  }

  function overlay(id, heat, says, nothing) {
    const { shown } = found, canvas = at(id), mixed = new ImageData(new Uint8ClampedArray(shown.data), shown.width, shown.height);
    let hottest = 0;
    if (heat) for (let i = 1; i < heat.length; i++) if (heat[i] > heat[hottest]) hottest = i;
    const most = heat ? heat[hottest] : 0, alpha = Number(at("alpha").value);
    if (most > 0) for (let i = 0; i < heat.length; i++) {
      const share = Math.max(0, heat[i] / most), mix = alpha * Math.min(1, 1.5 * share), entry = Math.round(255 * share) * 3;
      for (let c = 0; c < 3; c++) mixed.data[i * 4 + c] = shown.data[i * 4 + c] * (1 - mix) + facts.colours[entry + c] * mix;
    }
    Object.assign(canvas, { width: shown.width, height: shown.height });
    canvas.getContext("2d").putImageData(mixed, 0, 0);
    says.textContent = most > 0 ? `most heat at x ${hottest % shown.width}, y ${Math.floor(hottest / shown.width)}.` : `${nothing}.`;
  }

  // All units of the layer in one picture; signed layers in two colours.
  function sheet(read, chosen) {
    const { of } = found, [h, w] = of.grid.length === 2 ? of.grid : [1, read.count], skip = Math.ceil(Math.max(h, w) / (2 * TILE));
    const [rows, columns] = [Math.ceil(h / skip), Math.ceil(w / skip)], zoom = Math.max(1, Math.round(TILE / Math.max(rows, columns)));
    const across = Math.min(of.count, matchMedia("(max-width: 760px)").matches ? 8 : 16), [high, wide] = [rows * zoom, columns * zoom];
    let most = 1e-12, signed = false;
    for (let u = 0; u < of.count; u++) for (let p = 0; p < read.count; p++) {
      const value = read.value(u, p);
      most = Math.max(most, Math.abs(value));
      signed ||= value < 0;
    }
    const canvas = at("sheet"), down = Math.ceil(of.count / across), table = signed ? facts.signed : facts.colours;
    Object.assign(canvas, { width: across * (wide + 3) - 3, height: down * (high + 3) - 3 });
    const context = canvas.getContext("2d");
    for (let u = 0; u < of.count; u++) {
      const tile = context.createImageData(wide, high);
      for (let y = 0, at = 0; y < high; y++) for (let x = 0; x < wide; x++, at += 4) {
        const value = read.value(u, Math.floor(y / zoom) * skip * w + Math.floor(x / zoom) * skip) / most;
        const entry = Math.round(signed ? 127.5 + 127.5 * value : 255 * value) * 3;
        tile.data.set([table[entry], table[entry + 1], table[entry + 2], 255], at);
      }
      context.putImageData(tile, u % across * (wide + 3), Math.floor(u / across) * (high + 3));
    }
    context.strokeStyle = getComputedStyle(canvas).color;
    context.lineWidth = 3;
    context.strokeRect(chosen % across * (wide + 3) + 1.5, Math.floor(chosen / across) * (high + 3) + 1.5, wide - 3, high - 3);
    canvas.onclick = (event) => {
      const box = canvas.getBoundingClientRect();
      const column = Math.floor((event.clientX - box.left) / box.width * across), row = Math.floor((event.clientY - box.top) / box.height * down);
      if (row * across + column >= of.count) return;
      at("unit").value = row * across + column;
      remember();
      paint();
    };
    at("sheet-says").textContent = `${of.count} units, ${signed ? `from −${most.toPrecision(3)} to ${most.toPrecision(3)}, 0 in the middle` : `from 0 to ${most.toPrecision(3)}`}; click one to see its heat.`;
  }

  function list() {
    const raw = found.scores, kind = facts.scores.function;
    let values = raw;
    if (kind === "exp") values = raw.map(Math.exp);
    if (kind === "sigmoid") values = raw.map((v) => 1 / (1 + Math.exp(-v)));
    if (kind === "softmax") {
      const most = Math.max(...raw), powers = raw.map((v) => Math.exp(v - most)), sum = powers.reduce((a, b) => a + b, 0);
      values = powers.map((v) => v / sum);
    }
    if (facts.scores.two_sided) values = [1 - values[0], values[0]];
    const order = values.map((_, index) => index).sort((a, b) => values[b] - values[a]).slice(0, 5);
    at("classes").replaceChildren(...order.map((index) => {
      const row = document.createElement("tr"), name = Object.assign(document.createElement("th"), { scope: "row" });
      const cell = document.createElement("td"), bar = Object.assign(document.createElement("i"), { className: "plus" });
      name.textContent = facts.labels?.[index] ?? `class ${index}`;
      bar.style.width = `${100 * Math.max(0, Math.min(1, values[index]))}%`;
      cell.append(bar);
      row.dataset.class = index;
      row.append(name, cell, Object.assign(document.createElement("td"), { textContent: values[index].toFixed(3) }));
      return row;
    }));
  }

  async function film() {
    if (camera) return stop();
    camera = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
    at("camera").textContent = "Stop the webcam";
    const video = Object.assign(document.createElement("video"), { srcObject: camera, muted: true, playsInline: true });
    await video.play();
    while (camera) {
      picture = pixelsOf(video, video.videoWidth, video.videoHeight, FRAME);
      await explain();
      await new Promise(requestAnimationFrame);
    }
  }
  function stop() {
    camera?.getTracks().forEach((track) => track.stop());
    camera = null;
    at("camera").textContent = "Use the webcam";
  }

  // The address says which layer and unit are shown: index.html#SLUG/UNIT, as pages of units link it.
  function remember() {
    picked = true;
    history.replaceState(null, "", `#${layer().slug}/${unit()}`);
  }
  function recall() {
    const [slug, number] = location.hash.slice(1).split("/"), place = facts.layers.findIndex((of) => of.slug === slug);
    at("layer").value = place < 0 ? facts.start : place;
    picked = place >= 0 && Boolean(number);
    at("unit").value = picked ? Number(number) : "";
  }

  function prepare() {
    at("layer").append(...facts.layers.map((of, place) => new Option(of.name, place)));
    const names = facts.labels ?? Array.from({ length: facts.scores.classes }, (_, index) => `class ${index}`);
    at("target").append(new Option("the predicted class", "-1"), ...names.map((name, index) => new Option(name, index)));
    recall();
    addEventListener("hashchange", () => { recall(); guarded(explain); });
    at("layer").addEventListener("change", () => { at("unit").value = ""; picked = false; guarded(explain); });
    at("target").addEventListener("change", () => guarded(explain));
    at("unit").addEventListener("input", () => { remember(); paint(); });
    at("alpha").addEventListener("input", paint);
    at("camera").hidden = !navigator.mediaDevices?.getUserMedia;
    at("camera").addEventListener("click", () => session && guarded(film).finally(() => document.body.dataset.state === "error" && stop()));
    at("file").addEventListener("change", (event) => show(event.target.files[0]));
    for (const kind of ["dragover", "dragleave", "drop"]) document.addEventListener(kind, (event) => {
      event.preventDefault();
      at("drop").classList.toggle("over", kind === "dragover");
      if (kind === "drop") show(event.dataTransfer.files[0]);
    });
    for (const { name, data } of facts.samples) {
      const image = Object.assign(new Image(), { src: data, alt: name }), button = document.createElement("button");
      button.append(image);
      button.title = name;
      button.addEventListener("click", () => show(image));
      at("samples").append(button);
    }
  }
  function show(source) {
    if (!session || !source) return;
    stop();
    guarded(() => look(source));
  }

  guarded(async () => {
    prepare();
    await load("model.js");
    await open();
    say(`${note}Ready, on ${provider}.`, "ready");
    if (at("samples").querySelector("img")) await look(at("samples").querySelector("img"));
  });
  facts.found = () => found;
})();
