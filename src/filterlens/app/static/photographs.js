// SPDX-License-Identifier: Apache-2.0
// The photographs that ship, as buttons; props.value is the chosen one's name, or another for a picture of the visitor.
const row = element.querySelector(".row");
for (const { name, picture } of props.pictures) {
  const button = document.createElement("button"), image = document.createElement("img");
  button.type = "button"; button.dataset.name = name;
  image.src = picture; image.alt = name;
  button.append(image);
  button.addEventListener("click", () => { props.value = name; choose(name); });
  row.append(button);
}
const own = element.querySelector(".own input"), words = element.querySelector(".own span"), said = words.textContent;
own.addEventListener("change", async () => {
  const file = own.files[0];
  own.value = "";  // so that the same file can be sent again
  if (!file) return;
  words.textContent = "Sending …";
  try { trigger("upload", { path: (await upload(file)).path }); }
  catch (error) { trigger("upload", { error: String(error.message ?? error) }); }
  words.textContent = said;
});
function choose(name) {
  for (const button of row.children) button.setAttribute("aria-pressed", button.dataset.name === name);
}
choose(props.value);
watch("value", () => choose(props.value));
