// Buttons that copy a secret. A file of its own, because the pages' policy allows no inline script.
for (const button of document.querySelectorAll("button.copy")) {
  if (!navigator.clipboard) { button.hidden = true; }
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(button.dataset.text);
    button.textContent = "Copied";
  });
}
