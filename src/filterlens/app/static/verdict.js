// SPDX-License-Identifier: Apache-2.0
// What the input has; a verdict on an earlier input leaves the page at once.
const answer = element.querySelector(".answer"), looking = answer.innerHTML;
let said = looking, stands = looking;
function mark() {
  const due = window.filterlens.isCurrent("verdict") ? said : looking;
  if (due !== stands) answer.innerHTML = stands = due;  // made and escaped on the server
}
function show(value) {
  if (!value || (value.failed && window.filterlens.isCurrent("verdict"))) return;  // no picture, but the input is known
  said = value.html;
  window.filterlens.answered("verdict", value.controls);  // marks this, too
  if (value.adapters) window.filterlens.answered("adapters", value.controls);
}
document.addEventListener("filterlens", mark);
show(props.value);
watch("value", () => show(props.value));
