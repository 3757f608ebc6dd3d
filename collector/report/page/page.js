// Draws the tree of #data on a canvas the size of the window: a frame costs time only where it
// is visible. Names are text that hostile programs chose: they only ever become canvas text or
// textContent, never markup.

const $ = (id) => document.getElementById(id);
const data = JSON.parse($("data").textContent);
const { level, label, total, own, titles, kind, file, files, buildIds, kinds } = data;
const count = level.length;

// --- the tree: preorder lists into positions -------------------------------------------------

const start = new Float64Array(count); // samples left of the node
const next = new Int32Array(count); // first node after the subtree
const parent = new Int32Array(count).fill(-1);
let levels = 0;

(function layOut() {
  const path = []; // the ancestors of the node at hand
  const used = []; // samples of their children so far
  for (let i = 0; i < count; i++) {
    for (; path.length > level[i]; used.pop()) next[path.pop()] = i;
    if (path.length) {
      const top = path.length - 1;
      parent[i] = path[top];
      start[i] = start[path[top]] + used[top];
      used[top] += total[i];
    }
    path.push(i);
    used.push(0);
    levels = Math.max(levels, level[i] + 1);
  }
  while (path.length) next[path.pop()] = count;
})();

// --- colours -----------------------------------------------------------------------------------

const HUES = { k: 212, n: 36, j: 148, u: 0, p: 220 };
const SATURATIONS = { k: 62, n: 82, j: 48, u: 0, p: 10 };

function hash(text) {
  let value = 2166136261;
  for (let i = 0; i < text.length; i++) value = Math.imul(value ^ text.charCodeAt(i), 16777619);
  return (value >>> 0) / 4294967296;
}

/** The colour of a kind; `shade` in 0..1 tells frames of one kind apart. */
function colour(letter, shade, dark) {
  const hue = HUES[letter] + (letter === "n" ? 16 : 10) * (shade - 0.5);
  const light = dark ? 30 + 9 * shade : 71 + 11 * shade;
  const saturation = SATURATIONS[letter] * (dark ? 0.66 : 1);
  return `hsl(${hue.toFixed(1)} ${saturation.toFixed(1)}% ${light.toFixed(1)}%)`;
}

let fills = [];
let theme = {};

function setTheme(name) {
  document.documentElement.dataset.theme = name;
  const dark = name === "dark";
  fills = titles.map((title, at) => colour(kind[at], hash(title), dark));
  theme = dark
    ? { dark, text: "#f3f4f6", back: "#14171c", edge: "#ffffff", match: "#b3175f", veil: 0.3 }
    : { dark, text: "#15181d", back: "#ffffff", edge: "#000000", match: "#ff7db8", veil: 0.35 };
  showLegend();
  draw();
}

function showLegend() {
  const sums = {};
  for (let i = 0; i < count; i++) sums[kind[label[i]]] = (sums[kind[label[i]]] || 0) + own[i];
  const items = Object.keys(kinds).filter((letter) => letter !== "p").map((letter) => {
    const item = document.createElement("li");
    const swatch = document.createElement("i");
    swatch.style.background = colour(letter, 0.5, theme.dark);
    item.append(swatch, `${kinds[letter]} ${percent(sums[letter] || 0, total[0])}`);
    return item;
  });
  if (data.leftOut) {
    const item = document.createElement("li");
    item.textContent = `${data.leftOut.toLocaleString("en")} very small frames are not shown`;
    items.push(item);
  }
  $("legend").replaceChildren(...items);
}

// --- the view ----------------------------------------------------------------------------------

const ROW = 20;
const FONT = '12px ui-monospace, "SFMono-Regular", Menlo, Consolas, "DejaVu Sans Mono", monospace';
const canvas = $("graph");
const scroll = $("scroll");
const context = canvas.getContext("2d", { alpha: false });
let width = 0;
let height = 0;
let letterWidth = 7.2;
let view = { from: 0, to: total[0] || 1 };
let target = view;
let zoomed = 0;
let hovered = -1;
let selected = -1;
let flipped = false;
let hits = null; // one byte per label, or null without a search
let matches = []; // the nodes of hits, in preorder

function resize() {
  const ratio = window.devicePixelRatio || 1;
  width = scroll.clientWidth;
  height = scroll.clientHeight;
  canvas.style.width = `${width}px`;
  canvas.style.height = `${height}px`;
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(height * ratio);
  context.setTransform(canvas.width / width, 0, 0, canvas.height / height, 0, 0);
  context.font = FONT;
  letterWidth = context.measureText("MMMMMMMMMM").width / 10;
  // The canvas itself takes the first screenful of the scrolled height.
  $("height").style.height = `${Math.max(0, levels * ROW - height)}px`;
  draw();
}

const top = (i) => (flipped ? Math.max(levels * ROW, height) - (level[i] + 1) * ROW : level[i] * ROW) - scroll.scrollTop;
const left = (i) => ((start[i] - view.from) / (view.to - view.from)) * width;
const wide = (i) => (total[i] / (view.to - view.from)) * width;

let drawing = 0;
function draw() {
  if (!drawing) drawing = requestAnimationFrame(paint);
}

function paint() {
  drawing = 0;
  context.fillStyle = theme.back;
  context.fillRect(0, 0, width, height);
  context.textBaseline = "middle";
  for (let i = 0; i < count; ) {
    const x = left(i);
    const w = wide(i);
    if (x >= width || x + w <= 0) {
      i = next[i];
      continue;
    }
    const y = top(i);
    if (y > -ROW && y < height) paintFrame(i, x, y, w);
    // Below half a pixel nothing can be told apart: the whole subtree is one speck. And what
    // is below the screen (above it, if flipped) has nothing but more of that kind.
    i = w < 0.5 || (flipped ? y <= -ROW : y >= height) ? next[i] : i + 1;
  }
  outline(selected, 2);
  if (hovered !== selected) outline(hovered, 1);
  if (view !== target) step();
}

function paintFrame(i, x, y, w) {
  const at = label[i];
  const shown = Math.max(x, 0);
  const room = Math.min(x + w, width) - shown;
  const match = hits && hits[at];
  context.globalAlpha = hits && !match ? theme.veil : i < zoomed && next[i] > zoomed ? 0.6 : 1;
  context.fillStyle = match ? theme.match : fills[at];
  context.fillRect(shown, y, Math.max(room - (w > 3 ? 1 : 0), 0.6), ROW - 1);
  if (room < 9 + 3 * letterWidth) return;
  context.globalAlpha = hits && !match ? 0.6 : 1;
  context.fillStyle = theme.text;
  const letters = Math.floor((room - 9) / letterWidth);
  const title = titles[at];
  context.fillText(title.length > letters ? `${title.slice(0, letters - 1)}…` : title, shown + 4, y + ROW / 2, room - 8);
  context.globalAlpha = 1;
}

function outline(i, thickness) {
  context.globalAlpha = 1;
  if (i < 0) return;
  const x = Math.max(left(i), 0);
  const w = Math.min(left(i) + wide(i), width) - x;
  if (w <= 0) return;
  context.strokeStyle = theme.edge;
  context.lineWidth = thickness;
  context.strokeRect(x + thickness / 2, top(i) + thickness / 2, Math.max(w - 1 - thickness, 1), ROW - 1 - thickness);
}

// --- zoom --------------------------------------------------------------------------------------

const calm = window.matchMedia("(prefers-reduced-motion: reduce)");
const SECONDS = 0.14;
let zoomBegan = 0;
let origin = view;

function zoom(i) {
  zoomed = i;
  origin = { from: view.from, to: view.to };
  target = { from: start[i], to: start[i] + total[i] };
  zoomBegan = performance.now();
  view = calm.matches ? target : origin;
  $("reset").disabled = i === 0 && !hits;
  reveal(i);
  draw();
}

/** One step of the way from origin to target. */
function step() {
  const passed = Math.min(1, (performance.now() - zoomBegan) / 1000 / SECONDS);
  const ease = 1 - (1 - passed) ** 3;
  view = passed === 1 ? target : {
    from: origin.from + (target.from - origin.from) * ease,
    to: origin.to + (target.to - origin.to) * ease,
  };
  draw();
}

/** Scroll so that the frame's row is on the screen. */
function reveal(i) {
  const y = top(i);
  if (y < 0) scroll.scrollTop += y - ROW;
  else if (y + ROW > height) scroll.scrollTop += y + 2 * ROW - height;
}

// --- detail ------------------------------------------------------------------------------------

function percent(part, whole) {
  const value = whole ? (100 * part) / whole : 0;
  return `${value.toFixed(value < 1 && value > 0 ? 2 : 1)} %`;
}

function showDetail() {
  const i = hovered >= 0 ? hovered : selected >= 0 ? selected : zoomed;
  if (i >= count) return;
  const at = label[i];
  const place = [files[file[at]], kind[at] === "p" ? "" : kinds[kind[at]], buildIds[at] && `build ${buildIds[at]}`];
  const numbers = [`${total[i].toLocaleString("en")} samples`, `${percent(total[i], total[0])} of all`];
  if (parent[i] > 0) numbers.push(`${percent(total[i], total[parent[i]])} of its caller`);
  if (i) numbers.push(`${percent(own[i], total[0])} itself`);
  $("name").textContent = titles[at];
  $("place").textContent = place.filter(Boolean).join(" · ");
  $("numbers").textContent = numbers.join(" · ");
}

function select(i) {
  selected = i;
  hovered = -1;
  if (i >= 0) {
    // A frame outside of the zoom is brought in by zooming out to where it shows.
    if (start[i] < target.from || start[i] + total[i] > target.to) zoomOutTo(i);
    reveal(i);
  }
  showDetail();
  draw();
}

function zoomOutTo(i) {
  let wider = zoomed;
  while (wider > 0 && !(wider <= i && i < next[wider])) wider = parent[wider];
  zoom(Math.max(wider, 0));
}

/** The node under a point of the canvas, or -1. */
function nodeAt(x, y) {
  const end = Math.max(levels * ROW, height);
  const down = y + scroll.scrollTop;
  const wanted = Math.floor((flipped ? end - down : down) / ROW);
  const sample = view.from + (x / width) * (view.to - view.from);
  for (let i = 0; i < count; ) {
    if (sample < start[i] || sample >= start[i] + total[i]) i = next[i];
    else if (level[i] === wanted) return i;
    else i++;
  }
  return -1;
}

// --- search ------------------------------------------------------------------------------------

function search() {
  const text = $("search").value.trim();
  const expression = /^\/(.+)\/$/.exec(text);
  let test = null;
  let wrong = false;
  try {
    if (expression) {
      const pattern = new RegExp(expression[1], "i");
      test = (title) => pattern.test(title);
    } else if (text) {
      const lower = text.toLowerCase();
      test = (title) => title.toLowerCase().includes(lower);
    }
  } catch {
    wrong = true;
  }
  $("search").setAttribute("aria-invalid", String(wrong));
  hits = test && Uint8Array.from(titles, (title, at) => (kind[at] !== "p" || title !== "all") && (test(title) || test(files[file[at]])) ? 1 : 0);
  matches = [];
  for (let i = 0; hits && i < count; i++) if (hits[label[i]]) matches.push(i);
  $("matches").textContent = wrong ? "not a regular expression" : hits ? matchText() : "";
  $("reset").disabled = zoomed === 0 && !hits;
  draw();
}

function matchText() {
  let samples = 0; // of the topmost matches: what lies below one is part of it
  for (let i = 0; i < count; ) {
    const hit = hits[label[i]];
    if (hit) samples += total[i];
    i = hit ? next[i] : i + 1;
  }
  return `${percent(samples, total[0])} in ${matches.length.toLocaleString("en")} frames`;
}

function nextMatch(direction) {
  if (!matches.length) return;
  const at = selected < 0 ? (direction > 0 ? -1 : 0) : matches.findIndex((i) => i >= selected);
  const here = at < 0 && selected >= 0 ? matches.length : at;
  const found = direction < 0 || selected < 0 || matches[here] === selected ? here + direction : here;
  select(matches[(found + matches.length) % matches.length]);
}

// --- events ------------------------------------------------------------------------------------

function reset() {
  $("search").value = "";
  search();
  selected = -1;
  zoom(0);
  scroll.scrollTop = flipped ? scroll.scrollHeight : 0;
  showDetail();
}

function flip() {
  flipped = !flipped;
  scroll.scrollTop = flipped ? scroll.scrollHeight : 0;
  draw();
}

function help() {
  const open = $("keys").hidden;
  $("keys").hidden = !open;
  $("help").setAttribute("aria-expanded", String(open));
}

/** Where an arrow leads: towards callees is down, or up in a flipped graph. */
function walk(key) {
  if (selected < 0) return hovered >= 0 ? hovered : zoomed;
  const inwards = flipped ? "ArrowUp" : "ArrowDown";
  if (key === inwards) return selected + 1 < next[selected] ? selected + 1 : selected;
  if (key === "ArrowUp" || key === "ArrowDown") return Math.max(parent[selected], 0);
  const above = parent[selected];
  if (key === "ArrowRight") return above >= 0 && next[selected] < next[above] ? next[selected] : selected;
  let before = above < 0 ? selected : above + 1;
  while (before < selected && next[before] < selected) before = next[before];
  return before;
}

const KEYS = {
  Enter: () => zoom(selected >= 0 ? selected : zoomed),
  Backspace: () => zoom(Math.max(parent[zoomed], 0)),
  Escape: reset,
  "/": () => $("search").select(),
  n: () => nextMatch(1),
  N: () => nextMatch(-1),
  i: flip,
  t: () => setTheme(theme.dark ? "light" : "dark"),
  "?": help,
};

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || !count) return;
  if (event.target === $("search")) {
    if (event.key === "Escape") reset();
    else if (event.key === "Enter") nextMatch(event.shiftKey ? -1 : 1);
    else return;
    if (event.key === "Escape") canvas.focus();
  } else if (event.key.startsWith("Arrow")) select(walk(event.key));
  else if (event.target instanceof HTMLButtonElement && event.key === "Enter") return;
  else if (Object.hasOwn(KEYS, event.key)) KEYS[event.key]();
  else return;
  event.preventDefault();
});

canvas.addEventListener("mousemove", (event) => {
  const found = nodeAt(event.offsetX, event.offsetY);
  canvas.style.cursor = found >= 0 ? "pointer" : "default";
  if (found === hovered) return;
  hovered = found;
  showDetail();
  draw();
});
canvas.addEventListener("mouseleave", () => {
  hovered = -1;
  showDetail();
  draw();
});
canvas.addEventListener("click", (event) => {
  const found = nodeAt(event.offsetX, event.offsetY);
  if (found < 0) return;
  selected = -1;
  zoom(found);
  showDetail();
});
scroll.addEventListener("scroll", draw);
window.addEventListener("resize", resize);
$("tools").addEventListener("submit", (event) => event.preventDefault());
$("search").addEventListener("input", search);
$("reset").addEventListener("click", reset);
$("flip").addEventListener("click", flip);
$("theme").addEventListener("click", () => KEYS.t());
$("help").addEventListener("click", help);

if (count && total[0]) {
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  dark.addEventListener("change", () => setTheme(dark.matches ? "dark" : "light"));
  setTheme(dark.matches ? "dark" : "light");
  $("reset").disabled = true;
  resize();
  showDetail();
  // A link to a search: flamegraph.html#q=malloc
  $("search").value = new URLSearchParams(location.hash.slice(1)).get("q") ?? "";
  search();
} else {
  canvas.hidden = true;
  $("empty").hidden = false;
}
