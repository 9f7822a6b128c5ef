"use strict";
/* The mathematics first, as in lenet_np and with its names; what is seen follows below. */

const CLASSES = 10, SIZE = 28, BOX = 20;

// --- the network -----------------------------------------------------------------------------

/** Turn base64 of float32, little-endian, into numbers. */
function decode(text) {
  const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  return new Float32Array(bytes.buffer);
}

/** y = W * x + b for maps (C, H, W), no padding: W is (F, C, 5, 5). */
function convolve(x, channels, height, width, weight, bias) {
  const k = 5, rows = height - k + 1, columns = width - k + 1, filters = bias.length;
  const y = new Float64Array(filters * rows * columns);
  for (let f = 0, to = 0; f < filters; f++)
    for (let i = 0; i < rows; i++)
      for (let j = 0; j < columns; j++, to++) {
        let sum = bias[f];
        for (let c = 0, w = f * channels * k * k; c < channels; c++)
          for (let a = 0; a < k; a++)
            for (let b = 0, at = (c * height + i + a) * width + j; b < k; b++, w++, at++)
              sum += weight[w] * x[at];
        y[to] = sum;
      }
  return y;
}

/** The maximum of each 2 x 2 window, then the ReLU. */
function poolAndRelu(x, channels, height, width) {
  const y = new Float64Array(channels * height * width / 4);
  for (let c = 0, to = 0; c < channels; c++)
    for (let i = 0; i < height; i += 2)
      for (let j = 0; j < width; j += 2, to++) {
        const at = (c * height + i) * width + j;
        y[to] = Math.max(0, x[at], x[at + 1], x[at + width], x[at + width + 1]);
      }
  return y;
}

function dense(x, weight, bias) {
  return Float64Array.from(bias, (b, row) => {
    let sum = b;
    for (let k = 0, w = row * x.length; k < x.length; k++, w++) sum += weight[w] * x[k];
    return sum;
  });
}

const relu = (x) => x.map((value) => Math.max(0, value));

/** LeNet-5 for one field of 28 x 28 bytes. */
function forward(p, field) {
  const image = new Float64Array(32 * 32);
  for (let i = 0; i < SIZE; i++)
    for (let j = 0; j < SIZE; j++) image[(i + 2) * 32 + j + 2] = field[i * SIZE + j] / 255;
  const conv1 = convolve(image, 1, 32, 32, p["conv1.weight"], p["conv1.bias"]);
  const relu1 = poolAndRelu(conv1, 6, 28, 28);
  const conv2 = convolve(relu1, 6, 14, 14, p["conv2.weight"], p["conv2.bias"]);
  const relu2 = poolAndRelu(conv2, 16, 10, 10);
  const relu3 = relu(dense(relu2, p["dense1.weight"], p["dense1.bias"]));
  const relu4 = relu(dense(relu3, p["dense2.weight"], p["dense2.bias"]));
  const logits = dense(relu4, p["logits.weight"], p["logits.bias"]);
  return { relu1, relu2, relu3, relu4, logits };
}

// --- the noise and the estimate --------------------------------------------------------------

/** Uniform numbers from a seed (mulberry32), the same in every browser. */
function uniforms(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

/** n samples of normal noise for ten logits, by Box and Muller. */
function sampleNoise(seed, n) {
  const next = uniforms(seed), noise = [];
  for (let i = 0; i < n; i++) {
    const eps = new Float64Array(CLASSES);
    for (let k = 0; k < CLASSES; k += 2) {
      const radius = Math.sqrt(-2 * Math.log(1 - next())), angle = 2 * Math.PI * next();
      eps[k] = radius * Math.cos(angle);
      eps[k + 1] = radius * Math.sin(angle);
    }
    noise.push(eps);
  }
  return noise;
}

const argmax = (x) => x.reduce((best, value, k) => (value > x[best] ? k : best), 0);

/** F of every sample: 1 for an error, 0 for a success. */
const errors = (logits, label, noise, sigma) =>
  noise.map((eps) => Number(argmax(logits.map((l, k) => l + sigma * eps[k])) !== label));

/** The estimates of both gradients: w_i eps_i / sigma, summed over the samples. */
function estimate(F, noise, sigma) {
  const n = F.length, successes = F.filter((f) => f === 0).length;
  const weigh = {
    error: (f) => f / n,
    success: (f) => (successes ? 1 / n - (1 - f) / successes : 0),
  };
  const gradient = (w) => {
    const g = new Float64Array(CLASSES);
    F.forEach((f, i) => g.forEach((_, k) => { g[k] += (w(f) * noise[i][k]) / sigma; }));
    return g;
  };
  return { loss: 1 - successes / n, error: gradient(weigh.error), success: gradient(weigh.success) };
}

/** log of the standard normal distribution: a series in the middle, a continued fraction outside. */
function logNdtr(x) {
  const phi = Math.exp(-x * x / 2) / Math.sqrt(2 * Math.PI), z = Math.abs(x);
  if (z < 3) {
    let term = z, sum = z;
    for (let k = 3; term > 1e-17 * sum; k += 2) sum += term *= (z * z) / k;
    return Math.log(0.5 + Math.sign(x) * phi * sum);
  }
  let fraction = z;
  for (let k = 80; k > 0; k--) fraction = z + k / fraction;
  return x < 0 ? -x * x / 2 - Math.log(2 * Math.PI) / 2 - Math.log(fraction)
    : Math.log1p(-phi / fraction);
}

/** J, -log P and both exact gradients, by quadrature as in lenet_np.smoothed. */
function exact(logits, label, sigma) {
  const rivals = [...Array(CLASSES).keys()].filter((k) => k !== label);
  const a = rivals.map((k) => (logits[label] - logits[k]) / sigma);
  const halfLog = Math.log(2 * Math.PI) / 2;
  const mills = (x) => Math.exp(-x * x / 2 - halfLog - logNdtr(x));
  let mode = 0;
  for (let step = 0; step < 6; step++) {
    let slope = -mode, curvature = -1;
    for (const each of a) {
      const x = mode + each, lambda = mills(x);
      slope += lambda;
      curvature -= lambda * (lambda + x);
    }
    mode -= slope / curvature;
  }
  const nodes = 55, width = 16 / (nodes - 1);
  const t = Array.from({ length: nodes }, (_, i) => mode - 8 + i * width);
  const logH = t.map((u) => a.reduce((sum, each) => sum + logNdtr(u + each), -u * u / 2 - halfLog));
  const top = Math.max(...logH), h = logH.map((value) => Math.exp(value - top));
  const total = h.reduce((sum, value) => sum + value);
  const logP = Math.min(top + Math.log(total * width), 0);
  const success = new Float64Array(CLASSES);
  rivals.forEach((k, r) => {
    success[k] = t.reduce((sum, u, i) => sum + (h[i] / total) * mills(u + a[r]), 0) / sigma;
    success[label] -= success[k];
  });
  return { J: -Math.expm1(logP), surprise: -logP, success, error: success.map((g) => Math.exp(logP) * g) };
}

// --- from a drawing to the field, as MNIST's digits were prepared ------------------------------

/** Resize one axis with a Hamming window, as Pillow does: (rows, from) to (rows, to). */
function resample(x, rows, from, to) {
  const y = new Float64Array(rows * to), scale = from / to, support = Math.max(1, scale);
  for (let i = 0; i < to; i++) {
    const centre = (i + 0.5) * scale;
    const first = Math.max(0, Math.floor(centre - support + 0.5));
    const last = Math.min(from, Math.floor(centre + support + 0.5));
    const weights = [];
    for (let j = first; j < last; j++) {
      const u = Math.abs(j - centre + 0.5) / support;
      const sinc = u === 0 ? 1 : Math.sin(Math.PI * u) / (Math.PI * u);
      weights.push(u < 1 ? sinc * (0.54 + 0.46 * Math.cos(Math.PI * u)) : 0);
    }
    const sum = weights.reduce((s, w) => s + w, 0);
    for (let row = 0; row < rows; row++)
      weights.forEach((w, j) => { y[row * to + i] += (w / sum) * x[row * from + first + j]; });
  }
  return y;
}

/** (rows, columns) to (columns, rows). */
const transpose = (x, rows, columns) =>
  x.map((_, at) => x[(at % rows) * columns + Math.floor(at / rows)]);

/** Crop, scale into the box and centre by mass: ink (side, side) from 0 to 1; null if too little. */
function makeField(ink, side) {
  let top = side, left = side, bottom = -1, right = -1;
  ink.forEach((value, at) => {
    if (value === 0) return;
    const y = Math.floor(at / side), x = at % side;
    top = Math.min(top, y); bottom = Math.max(bottom, y);
    left = Math.min(left, x); right = Math.max(right, x);
  });
  const height = bottom - top + 1, width = right - left + 1, square = Math.max(height, width);
  if (square < 5) return null;
  const cut = new Float64Array(square * square);
  const down = Math.floor((square - height) / 2), across = Math.floor((square - width) / 2);
  for (let y = 0; y < height; y++)
    for (let x = 0; x < width; x++)
      cut[(y + down) * square + x + across] = ink[(y + top) * side + x + left];
  const narrow = transpose(resample(cut, square, square, BOX), square, BOX);
  const box = transpose(resample(narrow, BOX, square, BOX), BOX, BOX)
    .map((value) => Math.round(255 * Math.min(1, Math.max(0, value))));
  const start = [0, 1].map((axis) => {
    let mass = 0, moment = 0;
    box.forEach((value, at) => {
      mass += value;
      moment += value * (axis ? at % BOX : Math.floor(at / BOX));
    });
    return Math.min(SIZE - BOX, Math.max(0, Math.round(SIZE / 2 - moment / mass)));
  });
  const field = new Uint8Array(SIZE * SIZE);
  box.forEach((value, at) => {
    field[(Math.floor(at / BOX) + start[0]) * SIZE + (at % BOX) + start[1]] = value;
  });
  return field;
}

// --- the page --------------------------------------------------------------------------------

const $ = (id) => document.getElementById(id);
const data = JSON.parse($("data").textContent);
const runs = data.runs.map((run) => ({
  ...run,
  parameters: Object.fromEntries(Object.entries(run.parameters).map(([k, v]) => [k, decode(v)])),
  undo: [],
}));
const samples = Uint8Array.from(atob(data.images), (c) => c.charCodeAt(0));
const state = { seed: 0, sigma: 4, n: 200, label: data.labels[0], image: 0, field: null };
let drawing = null, waiting = false, linking = null;

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const short = (x) => (x !== 0 && Math.abs(x) < 0.001 ? x.toExponential(1) : x.toFixed(3));

/** Draw grey or signed values as square pixels: maps side by side. */
function paintMaps(canvas, values, count, rows, columns) {
  const gap = count > 1 ? 1 : 0, width = count * (columns + gap) - gap;
  canvas.width = width; canvas.height = rows;
  const picture = canvas.getContext("2d").createImageData(width, rows);
  const largest = Math.max(...values) || 1;
  for (let m = 0; m < count; m++)
    for (let y = 0; y < rows; y++)
      for (let x = 0; x < columns; x++) {
        const share = values[(m * rows + y) * columns + x] / largest;
        const at = 4 * (y * width + m * (columns + gap) + x);
        picture.data.set([255 - 255 * share, 255 - 141 * share, 255 - 77 * share, 255], at);
      }
  canvas.getContext("2d").putImageData(picture, 0, 0);
}

/** Bars from a line of zero; the exact values, where given, as marks. */
function paintBars(canvas, values, marks, highlight) {
  const scale = devicePixelRatio || 1, width = canvas.clientWidth, height = 110;
  canvas.width = width * scale; canvas.height = height * scale;
  const draw = canvas.getContext("2d");
  draw.scale(scale, scale);
  const all = [...values, ...(marks || []), 0], high = Math.max(...all), low = Math.min(...all);
  const y = (v) => 6 + (height - 24) * (high - v) / (high - low || 1), step = width / CLASSES;
  draw.font = "12px system-ui, sans-serif";
  draw.textAlign = "center";
  values.forEach((value, k) => {
    draw.fillStyle = colour(k === highlight ? "--right" : "--bar");
    draw.fillRect(k * step + step * 0.2, Math.min(y(value), y(0)), step * 0.6, Math.abs(y(value) - y(0)));
    draw.fillStyle = colour("--ink");
    draw.fillText(k, (k + 0.5) * step, height - 3);
    if (marks) draw.fillRect(k * step + step * 0.08, y(marks[k]) - 1, step * 0.84, 2.5);
  });
  draw.fillStyle = colour("--line");
  draw.fillRect(0, y(0), width, 1);
}

/** The cloud of noisy logits: label across, best rival up. Below the diagonal the label wins. */
function paintCloud(canvas, logits, F, noise) {
  const scale = devicePixelRatio || 1, side = canvas.clientWidth;
  canvas.width = canvas.height = side * scale;
  const draw = canvas.getContext("2d");
  draw.scale(scale, scale);
  const points = noise.map((eps) => {
    const noisy = logits.map((l, k) => l + state.sigma * eps[k]);
    return [noisy[state.label], Math.max(...noisy.filter((_, k) => k !== state.label))];
  });
  const all = points.flat(), low = Math.min(...all), high = Math.max(...all);
  const at = (v) => 8 + (side - 16) * (v - low) / (high - low || 1);
  draw.strokeStyle = colour("--line");
  draw.beginPath(); draw.moveTo(at(low), side - at(low)); draw.lineTo(at(high), side - at(high)); draw.stroke();
  points.forEach(([label, rival], i) => {
    draw.fillStyle = draw.strokeStyle = colour(F[i] ? "--wrong" : "--right");
    const x = at(label), y = side - at(rival);
    draw.beginPath();
    if (F[i]) { draw.moveTo(x - 3, y - 3); draw.lineTo(x + 3, y + 3); draw.moveTo(x - 3, y + 3); draw.lineTo(x + 3, y - 3); draw.stroke(); }
    else { draw.arc(x, y, 2.6, 0, 7); draw.fill(); }
  });
}

/** Say what a move of the logits against a gradient, by one sigma, would do to J. */
function moved(logits, g, J) {
  const length = Math.hypot(...g);
  if (length === 0) return "No sample tells one direction from another: the estimate is 0.";
  const there = logits.map((l, k) => l - state.sigma * g[k] / length);
  const now = exact(there, state.label, state.sigma).J;
  return `The logits, moved by one sigma against the estimate, take J from ${short(J)} to ${short(now)}.`;
}

function show() {
  waiting = false;
  paintMaps($("field"), Array.from(state.field), 1, SIZE, SIZE);
  const noise = sampleNoise(state.seed, state.n);
  runs.forEach((run, r) => {
    const of = (name) => $(`run${r}`).querySelector(`[data-show=${name}]`);
    const out = forward(run.parameters, state.field), logits = Array.from(out.logits);
    const answer = argmax(logits), truth = exact(logits, state.label, state.sigma);
    const F = errors(logits, state.label, noise, state.sigma), found = estimate(F, noise, state.sigma);
    const rival = Math.max(...logits.filter((_, k) => k !== state.label));
    const margin = (logits[state.label] - rival) / state.sigma;
    run.shown = { out, F, truth, found };
    of("answer").textContent = answer;
    paintMaps(of("maps1"), out.relu1, 6, 14, 14);
    paintMaps(of("maps2"), out.relu2, 16, 5, 5);
    paintMaps(of("dense1"), out.relu3, 1, 1, 120);
    paintMaps(of("dense2"), out.relu4, 1, 1, 84);
    paintBars(of("logits"), logits, null, state.label);
    paintCloud(of("cloud"), logits, F, noise);
    of("margin").textContent = `${state.label} ${margin < 0 ? "is behind" : "leads"} by `
      + `${Math.abs(margin).toFixed(2)} sigma; the noise lets it win ${state.n - F.reduce((s, f) => s + f, 0)} of ${state.n} times.`;
    of("J").textContent = `J = ${short(found.loss)} by these samples, ${short(truth.J)} exactly; `
      + `-log P = ${short(truth.surprise)} exactly.`;
    const length = (g) => Math.hypot(...g);
    for (const which of ["error", "success"]) {
      paintBars(of(`g-${which}`), Array.from(found[which]), Array.from(truth[which]), state.label);
      of(`size-${which}`).textContent = `Length ${short(length(found[which]))} estimated, `
        + `${short(length(truth[which]))} exact. ${moved(logits, found[which], truth.J)}`
        + (which === "error" && found.loss === 1 ? " Every sample is wrong, so it is nothing but noise." : "");
    }
    of("undo").disabled = run.undo.length === 0;
  });
  $("answers").textContent = runs.map((run) => argmax(run.shown.out.logits)).join(" and ");
  [...$("images").children].forEach((button, image) => button.setAttribute("aria-pressed", image === state.image));
  // Browsers refuse an address that changes with every frame.
  clearTimeout(linking);
  linking = setTimeout(writeLink, 300);
}

function writeLink() {
  const link = new URLSearchParams({ seed: state.seed, sigma: state.sigma, n: state.n, label: state.label });
  if (state.image !== null) link.set("image", state.image);
  history.replaceState(null, "", `#${link}`);
}

/** Take the settings of the address, and what it does not say as it was made. */
function readLink() {
  const link = new URLSearchParams(location.hash.slice(1));
  const asked = (name, least, most, other) => {
    const value = Number(link.get(name));
    return link.has(name) && value >= least && value <= most ? value : other;
  };
  $("sigma").value = asked("sigma", 0.1, 16, data.sigma);
  $("n").value = Math.log2(asked("n", 1, 4096, 200));
  state.seed = Math.floor(asked("seed", 0, 2 ** 31, 0));
  choose(Math.floor(asked("image", 0, data.labels.length - 1, data.labels.indexOf(8))));
  $("label").value = Math.floor(asked("label", 0, 9, state.label));
  readControls();
}

function readControls() {
  state.sigma = Number($("sigma").value); state.n = Math.round(2 ** $("n").value); state.label = Number($("label").value);
  $("sigma-value").textContent = state.sigma; $("n-value").textContent = state.n;
  update();
}

/** Show at the next frame, once for all that has changed until then. */
function update() {
  if (!waiting) requestAnimationFrame(show);
  waiting = true;
}

/** A step of the last layer's weights against a gradient: W -= rate g x', b -= rate g. */
function learn(r, which) {
  const run = runs[r], p = run.parameters, x = run.shown.out.relu4;
  const g = which === "exact" ? run.shown.truth.success : run.shown.found[which];
  const before = run.shown.truth.J, weight = p["logits.weight"].slice(), bias = p["logits.bias"].slice();
  run.undo.push([p["logits.weight"], p["logits.bias"]]);
  const rate = 1 / (1 + x.reduce((sum, value) => sum + value * value, 0)) * state.sigma * state.sigma;
  g.forEach((slope, k) => {
    bias[k] -= rate * slope;
    x.forEach((value, j) => { weight[k * x.length + j] -= rate * slope * value; });
  });
  p["logits.weight"] = weight; p["logits.bias"] = bias;
  show();
  say(r, `J was ${short(before)} and is ${short(run.shown.truth.J)} (exact).`
    + (Math.hypot(...g) === 0 ? " The estimate was 0: nothing was learnt." : ""));
}

function undo(r) {
  const p = runs[r].parameters;
  [p["logits.weight"], p["logits.bias"]] = runs[r].undo.pop();
  show();
  say(r, "The step is undone.");
}

const say = (r, text) => { $(`run${r}`).querySelector("[data-show=step]").textContent = text; };

function choose(image) {
  state.image = image;
  state.field = samples.slice(image * SIZE * SIZE, (image + 1) * SIZE * SIZE);
  state.label = data.labels[image];
  $("label").value = state.label;
  clear();
  update();
}

function clear() {
  const pad = $("pad");
  pad.getContext("2d", { willReadFrequently: true }).clearRect(0, 0, pad.width, pad.height);
}

function stroke(event) {
  const pad = $("pad"), box = pad.getBoundingClientRect(), draw = pad.getContext("2d", { willReadFrequently: true });
  const point = [event.clientX - box.left, event.clientY - box.top].map((v) => v * pad.width / box.width);
  draw.lineWidth = 28; draw.lineCap = draw.lineJoin = "round"; draw.strokeStyle = "#0072b2";
  draw.beginPath(); draw.moveTo(...(drawing || point)); draw.lineTo(...point); draw.stroke();
  drawing = point;
  const pixels = draw.getImageData(0, 0, pad.width, pad.height).data;
  const ink = Float64Array.from({ length: pad.width * pad.height }, (_, at) => pixels[4 * at + 3] / 255);
  const field = makeField(ink, pad.width);
  if (field) { state.field = field; state.image = null; update(); }
}

function start() {
  runs.forEach((run, r) => {
    const view = $("run").content.cloneNode(true).firstElementChild;
    view.id = `run${r}`;
    view.querySelector("h2").textContent = run.name;
    for (const which of ["error", "success", "exact"])
      view.querySelector(`[data-learn=${which}]`).onclick = () => learn(r, which);
    view.querySelector("[data-show=undo]").onclick = () => undo(r);
    $("runs").append(view);
  });
  data.labels.forEach((label, image) => {
    const button = document.createElement("button"), canvas = document.createElement("canvas");
    paintMaps(canvas, Array.from(samples.slice(image * 784, image * 784 + 784)), 1, SIZE, SIZE);
    button.setAttribute("aria-label", `image ${image + 1}, a ${label}`);
    button.append(canvas);
    button.onclick = () => choose(image);
    $("images").append(button);
  });
  for (let k = 0; k < CLASSES; k++) $("label").add(new Option(k, k));
  const pad = $("pad");
  pad.onpointerdown = (event) => { pad.setPointerCapture(event.pointerId); if (state.image !== null) clear(); drawing = null; stroke(event); };
  pad.onpointermove = (event) => { if (event.buttons && pad.hasPointerCapture(event.pointerId)) stroke(event); };
  pad.onpointerup = () => { drawing = null; };
  $("clear").onclick = clear;
  $("again").onclick = () => { state.seed += 1; update(); };
  for (const name of ["sigma", "n", "label"]) $(name).oninput = readControls;
  onhashchange = readLink;
  matchMedia("(prefers-color-scheme: dark)").onchange = update;
  onresize = update;
  readLink();
}

start();
