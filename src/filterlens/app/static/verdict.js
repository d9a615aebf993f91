// SPDX-License-Identifier: Apache-2.0
// What the input has; a verdict on an earlier input is not shown.
const answer = element.querySelector(".answer"), looking = element.querySelector(".looking");
function mark() {
  const current = answer.childElementCount > 0 && window.filterlens.isCurrent("verdict");
  answer.hidden = !current;
  looking.hidden = current;
}
function show(value) {
  if (!value || (value.failed && window.filterlens.isCurrent("verdict"))) return;  // no picture, but the input is known
  answer.innerHTML = value.html;  // made and escaped on the server
  window.filterlens.answered("verdict", value.controls);
  if (value.adapters) window.filterlens.answered("adapters", value.controls);
}
document.addEventListener("filterlens", mark);
mark();
show(props.value);
watch("value", () => show(props.value));
