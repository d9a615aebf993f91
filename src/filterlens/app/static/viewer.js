// SPDX-License-Identifier: Apache-2.0
// The divider between input and result, and the lens on both. Pictures arrive as addresses in props.value.
const find = (name) => element.querySelector(name);
const stage = find(".stage"), before = find(".before"), after = find(".after"), divider = find(".divider");
const lens = find(".lens"), panes = lens.querySelectorAll("span"), lensSwitch = find(".lens-switch"), busy = find(".busy");
let at = 50, looking = false, newest = 0;

function divide(percent) {
  at = Math.min(100, Math.max(0, percent));
  stage.style.setProperty("--at", at + "%");
  divider.setAttribute("aria-valuenow", Math.round(at));
}

function look(event) {
  const box = stage.getBoundingClientRect();
  const x = event.clientX - box.left, y = event.clientY - box.top;
  if (x < 0 || y < 0 || x > box.width || y > box.height) { lens.hidden = true; return; }
  const pane = Math.round(Math.min(150, box.width * 0.34)), zoom = Math.max(2.5, (3 * after.naturalWidth) / box.width);
  lens.style.setProperty("--pane", pane + "px");
  [before, after].forEach((image, index) => {
    panes[index].style.backgroundImage = `url("${image.src}")`;
    panes[index].style.backgroundSize = `${box.width * zoom}px ${box.height * zoom}px`;
    panes[index].style.backgroundPosition = `${pane / 2 - x * zoom}px ${pane / 2 - y * zoom}px`;
  });
  const width = 2 * pane + 6, gap = event.pointerType === "mouse" ? 18 : 44;  // a finger hides more than an arrow
  const above = y - pane - gap;
  lens.style.left = Math.min(box.width - width - 4, Math.max(4, x - width / 2)) + "px";
  lens.style.top = (above >= 4 ? above : Math.min(box.height - pane - 8, y + gap)) + "px";
  lens.hidden = false;
}

function switchLens(on) {
  looking = on;
  stage.classList.toggle("looking", on);
  lensSwitch.setAttribute("aria-pressed", on);
  if (!on) lens.hidden = true;
}

const drag = (event) => {
  const box = stage.getBoundingClientRect();
  divide((100 * (event.clientX - box.left)) / box.width);
};
let dragging = false;
stage.addEventListener("pointerdown", (event) => {
  if (event.button) return;
  event.preventDefault();
  try { stage.setPointerCapture(event.pointerId); } catch (error) { /* the pointer is gone already */ }
  dragging = !looking || event.target.closest(".divider") !== null;
  if (dragging) { lens.hidden = true; drag(event); } else look(event);
});
stage.addEventListener("pointermove", (event) => {
  if (dragging) drag(event); else if (looking) look(event);
});
const release = (event) => {
  dragging = false;
  if (event.pointerType !== "mouse" || event.type === "pointerleave") lens.hidden = true;
};
for (const name of ["pointerup", "pointercancel", "pointerleave"]) stage.addEventListener(name, release);
divider.addEventListener("keydown", (event) => {
  const step = { ArrowLeft: -2, ArrowRight: 2, ArrowDown: -2, ArrowUp: 2, PageDown: -10, PageUp: 10, Home: -100, End: 100 }[event.key];
  if (step) { event.preventDefault(); divide(at + step); }
});
lensSwitch.addEventListener("click", () => switchLens(!looking));

for (const name of ["dragenter", "dragover"]) stage.addEventListener(name, (event) => {
  event.preventDefault();
  stage.classList.add("dropping");
});
stage.addEventListener("dragleave", () => stage.classList.remove("dropping"));
stage.addEventListener("drop", async (event) => {
  event.preventDefault();
  stage.classList.remove("dropping");
  const file = event.dataTransfer.files[0];
  if (!file) return;
  try { trigger("upload", { path: (await upload(file)).path }); }
  catch (error) { trigger("upload", { error: String(error.message ?? error) }); }
});

async function load(address) {
  const image = new Image();
  image.src = address;
  await image.decode();
}

let shown = null, sought = null;  // the picture that stands there, and what was last said of another one
function mark() {
  const page = window.filterlens, current = shown !== null && page.isCurrent("picture"), save = find(".save");
  const about = sought && page.agrees("picture", sought.controls) ? sought : null;
  stage.classList.toggle("earlier", !current);
  find(".tag.input").textContent = !shown ? "" : page.agrees("input", shown.controls) ? shown.input : "earlier input";
  find(".tag.result").textContent = !shown ? "" : current ? shown.result : "earlier result";
  find(".facts").textContent = current ? shown.facts : about?.failed ? "There is no picture for these settings." : "Working …";
  busy.hidden = current || !(about?.total > 1);
  if (current) { save.href = shown.after; save.download = shown.file; save.removeAttribute("aria-disabled"); }
  else { save.removeAttribute("href"); save.setAttribute("aria-disabled", "true"); }
  if (!current) lens.hidden = true;
}

async function show(value) {
  if (!value) return;
  if (!value.after) {
    sought = value;
    if (value.total) {
      busy.querySelector("i").style.width = (100 * value.done) / value.total + "%";
      busy.querySelector("b").textContent = `tile ${value.done} of ${value.total}`;
    }
    mark();
    return;
  }
  const mine = ++newest;
  try { await Promise.all([load(value.before), load(value.after)]); }  // swapped when both are there: no flicker
  catch (error) { return; }  // a newer picture has taken its place on the server
  if (mine !== newest) return;
  stage.style.aspectRatio = `${value.width} / ${value.height}`;
  stage.style.width = `min(100%, calc(68vh * ${value.width / value.height}))`;
  before.src = value.before; after.src = value.after;
  shown = value; sought = null;
  window.filterlens.answered("picture", value.controls);  // marks this, too
  element.dataset.shown = value.after;
}

document.addEventListener("filterlens", mark);
divide(50);
switchLens(false);
mark();
show(props.value);
watch("value", () => show(props.value));
