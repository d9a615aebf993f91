// SPDX-License-Identifier: Apache-2.0
// Draws every filter as a cell: one square of out × in channels per layer. Found filters are coloured, paler when dialled down.
const find = (name) => element.querySelector(name);
const canvas = find("canvas"), tip = find(".tip"), only = find(".used input");
const unpack = (text, Kind) => new Kind(Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0)).buffer);
const functions = props.functions.map((each) => {
  const list = unpack(each.ranking, Int32Array), ranks = new Map();
  list.forEach((filter, rank) => ranks.set(filter, rank + 1));
  return { ...each, ranks };
});
let offset = 0;
const layers = props.layers.map(([name, out, inwards, whole]) => {  // whole: a filter is a row of the weight
  const columns = whole ? Math.ceil(Math.sqrt(out)) : inwards, count = out * inwards;
  const layer = { name, whole, count, columns, rows: Math.ceil(count / columns), offset };
  offset += count;
  return layer;
});
const state = { percent: 1, strengths: [] };  // as the controls say
let latest = null, used = null, places = [];  // used: by the input, while the latest answer is about this one
const strength = (each) => state.strengths[functions.indexOf(each)] ?? 1;
const count = (percent) => Math.floor((props.total * percent) / 100 + 1e-9);

for (const each of functions) {
  const button = document.createElement("button");
  button.type = "button";
  button.style.setProperty("--own", each.colour);
  button.innerHTML = "<i></i><b></b><small></small>";
  button.querySelector("b").textContent = each.title;
  button.addEventListener("click", () => trigger("select", { degradation: each.degradation }));
  each.button = button;
  find(".functions").append(button);
}

function legend() {
  for (const each of functions) {
    const masked = strength(each) === 0;
    each.button.classList.toggle("masked", masked);
    each.button.setAttribute("aria-pressed", masked);
    each.button.title = masked ? "Click to give these filters back" : "Click to mask: puts these filters back to their values before fine-tuning";
    each.button.querySelector("small").textContent = `${count(state.percent).toLocaleString("en")} filters · ${masked ? "masked" : "at " + strength(each)}`;
  }
}

const rgb = (hex) => [1, 3, 5].map((start) => parseInt(hex.slice(start, start + 2), 16));
function colourOf(filter, dark) {
  const most = count(state.percent);
  const mine = functions.filter((each) => (each.ranks.get(filter) ?? Infinity) <= most);
  const inUse = used && (used.ranks.get(filter) ?? Infinity) <= count(used.percent);
  const dim = used && only.checked && !inUse ? 0.12 : 1;
  if (!mine.length) return only.checked && inUse ? (dark ? [200, 206, 216, 230] : [70, 78, 92, 230]) : null;
  const part = Math.max(...mine.map((each) => Math.min(1, Math.max(0, strength(each)))));
  const mixed = mine.length > 1 ? (dark ? [255, 255, 255] : [20, 24, 32]) : rgb(mine[0].colour);
  return [...mixed, 255 * dim * (0.22 + 0.78 * part)];
}

function paint(layer, dark) {
  const sheet = document.createElement("canvas");
  sheet.width = layer.columns; sheet.height = layer.rows;
  const context = sheet.getContext("2d"), image = context.createImageData(layer.columns, layer.rows);
  const ground = dark ? [255, 255, 255, 16] : [29, 36, 48, 16];
  for (let cell = 0; cell < layer.count; cell++)
    image.data.set(colourOf(layer.offset + cell, dark) ?? ground, 4 * cell);
  context.putImageData(image, 0, 0);
  return sheet;
}

function draw() {
  const width = element.querySelector(".sheet").clientWidth;
  if (!width) return;
  const ratio = window.devicePixelRatio || 1, dark = document.body.classList.contains("dark");
  const wide = width > 640, typical = layers.map((layer) => layer.rows).sort((a, b) => a - b)[layers.length >> 1];
  const sharp = (cell) => (cell * ratio < 1 ? cell : Math.round(cell * ratio) / ratio);  // whole pixels, even cells
  const usual = sharp((wide ? 112 : 64) / typical), label = 15;
  const side = typical * usual, columns = Math.max(1, Math.floor((width + 8) / (side + 8)));
  const gap = Math.min(28, Math.floor((width - columns * side) / Math.max(1, columns - 1)));  // as wide as the page
  places = [];
  let x = 0, y = 0, high = 0;
  for (const layer of layers) {
    const cell = Math.min(usual, width / layer.columns), sheet = paint(layer, dark);
    for (let first = 0; first < layer.rows; first += typical) {  // layers with many rows go on beside themselves
      const rows = Math.min(typical, layer.rows - first), across = Math.max(layer.columns * cell, 14);
      if (x && x + across > width) { x = 0; y += high + label + 12; high = 0; }
      places.push({ layer, sheet, first, rows, x, y: y + label, cell });
      x += across + (first + typical < layer.rows ? Math.min(gap, 3) : gap); high = Math.max(high, rows * cell);
    }
  }
  const height = y + label + high + 2;
  canvas.width = Math.round(width * ratio); canvas.height = Math.round(height * ratio);
  canvas.style.height = height + "px";
  const context = canvas.getContext("2d");
  context.scale(ratio, ratio);
  context.font = "10px system-ui, sans-serif";
  context.fillStyle = dark ? "#a5afbf" : "#566072";
  for (const place of places) {
    const { layer, sheet, first, rows, cell } = place, across = layer.columns * cell;
    context.imageSmoothingEnabled = cell * ratio < 1;
    if (across > 40 && !first) context.fillText(fitted(context, layer.name.replace(/(^|\.)weight$/, "") || "weight", across), place.x, place.y - 4);
    context.drawImage(sheet, 0, first, layer.columns, rows, place.x, place.y, across, rows * cell);
  }
}

function fitted(context, name, across) {
  let text = name;
  while (text && context.measureText(text).width > across) text = "…" + text.slice(text[0] === "…" ? 2 : 1);
  return text;
}

function filterAt(x, y) {
  const place = places.find((each) => x >= each.x - 2 && y >= each.y && x < each.x + Math.max(each.layer.columns * each.cell, 8) + 2 && y < each.y + each.rows * each.cell);
  if (!place) return null;
  const { layer, cell } = place, row = place.first + Math.floor((y - place.y) / cell);
  const column = Math.min(layer.columns - 1, Math.max(0, Math.floor((x - place.x) / cell)));
  const most = count(state.percent), reach = Math.ceil(3 / cell);  // a found filter nearby is what was meant
  let best = null;
  for (let down = -reach; down <= reach; down++) for (let across = -reach; across <= reach; across++) {
    const r = row + down, c = column + across, filter = layer.offset + r * layer.columns + c;
    if (r < 0 || c < 0 || c >= layer.columns || filter >= layer.offset + layer.count) continue;
    if (!functions.some((each) => (each.ranks.get(filter) ?? Infinity) <= most)) continue;
    const distance = down * down + across * across;
    if (!best || distance < best.distance) best = { distance, layer, row: r, column: c, filter };
  }
  const exact = { layer, row, column, filter: layer.offset + row * layer.columns + column };
  return best ?? (exact.filter < layer.offset + layer.count ? exact : null);
}

function describe(found) {
  const lines = functions.map((each) => {
    const rank = each.ranks.get(found.filter);
    return rank ? `${each.title}: rank ${rank.toLocaleString("en")} of ${props.total.toLocaleString("en")}` : `${each.title}: not among the best ${each.ranks.size.toLocaleString("en")}`;
  });
  const share = used?.shares.get(found.filter);
  if (used) lines.push(share ? `score on this input: ${(100 * share).toPrecision(2)} % of the change (rank ${used.ranks.get(found.filter).toLocaleString("en")})` : "hardly used on this input");
  const { layer, row, column, filter } = found;
  return [`${layer.name}[${layer.whole ? `${filter - layer.offset}, :` : `${row}, ${column}`}]`, ...lines];
}

function point(event) {
  const box = canvas.getBoundingClientRect(), found = filterAt(event.clientX - box.left, event.clientY - box.top);
  tip.hidden = !found;
  if (!found) return;
  const [address, ...lines] = describe(found);
  tip.innerHTML = "<b></b>";
  tip.firstChild.textContent = address;
  for (const line of lines) { const text = document.createElement("span"); text.textContent = line; tip.append(text); }
  const x = event.clientX - box.left, y = event.clientY - box.top;
  tip.style.left = Math.max(0, Math.min(box.width - tip.offsetWidth - 2, x + 14)) + "px";
  tip.style.top = (y > tip.offsetHeight + 16 ? y - tip.offsetHeight - 12 : y + 20) + "px";
}
canvas.addEventListener("pointermove", point);
canvas.addEventListener("pointerdown", point);
canvas.addEventListener("pointerleave", (event) => { if (event.pointerType === "mouse") tip.hidden = true; });
only.addEventListener("change", draw);

function mark() {
  const controls = window.filterlens.wanted;
  if (controls) [state.percent, state.strengths] = [controls[5], controls.slice(6)];
  used = window.filterlens.isCurrent("map") ? latest : null;
  only.disabled = !used;
  find(".looking").hidden = Boolean(used);
  if (!used) tip.hidden = true;
  legend();
  draw();
}

function show(value) {
  if (!value) return;
  latest = value.used && { percent: value.used.percent, ranks: new Map(), shares: new Map() };
  if (latest) {
    const filters = unpack(value.used.filters, Int32Array), shares = unpack(value.used.shares, Float32Array);
    filters.forEach((filter, rank) => { latest.ranks.set(filter, rank + 1); latest.shares.set(filter, shares[rank]); });
  }
  window.filterlens.answered("map", value.controls);
}
document.addEventListener("filterlens", mark);
mark();
show(props.value);
watch("value", () => show(props.value));
new ResizeObserver(draw).observe(element);
