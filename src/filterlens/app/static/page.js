// SPDX-License-Identifier: Apache-2.0
// What of the page belongs to the controls as they are, and what to earlier ones: every answer says which it was made for.
window.filterlens = (() => {
  let wanted = null;  // source, lowered, blur, noise, quality, percent, strengths …
  const made = {};
  const input = (controls) => (controls[1] ? controls.slice(0, 2) : controls.slice(0, 5));
  const decides = { picture: (controls) => controls, input, verdict: input, map: input, adapters: (controls) => [controls[5]] };
  const same = (one, other) => one.length === other.length && one.every((value, index) => value === other[index]);
  const agrees = (part, controls) => !wanted || (controls && same(decides[part](wanted), decides[part](controls)));
  function tell() {
    for (const button of document.querySelectorAll('[id^="adapter-"]')) button.inert = !agrees("adapters", made.adapters);
    document.body.classList.toggle("earlier-adapters", !agrees("adapters", made.adapters));
    document.dispatchEvent(new Event("filterlens"));
  }
  return {
    agrees,
    get wanted() { return wanted; },
    isCurrent: (part) => agrees(part, made[part]),
    answered(part, controls) { made[part] = controls; tell(); },
    note(all) {  // the values of all controls, between the server's own first one and the page's clock
      const controls = all.slice(1, -1);
      if (wanted && !same(wanted, controls)) for (const close of document.querySelectorAll(".toast-close")) close.click();
      wanted = controls;
      tell();
      return [...all.slice(0, -1), performance.timeOrigin + performance.now()];
    },
  };
})();
