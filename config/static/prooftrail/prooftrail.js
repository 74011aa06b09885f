// Small things: the first field has the focus, a text is copied, a page learns of a first record, a row is approved.
"use strict";

// The page is hidden until Alpine has started, and what is hidden cannot take the focus that it asked for.
document.addEventListener("alpine:initialized", () => {
  setTimeout(() => document.querySelector("[autofocus]")?.focus(), 50);
});

document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy]");
  if (!button) return;
  const source = document.getElementById(button.dataset.copy);
  const said = button.querySelector("[data-said]");
  const before = said.textContent;
  try {
    await navigator.clipboard.writeText(source.textContent.trim());
    said.textContent = "Copied";
  } catch {
    // No clipboard on plain http: select it, so that one key does the rest.
    window.getSelection().selectAllChildren(source);
    said.textContent = "Selected: press Ctrl+C";
  }
  setTimeout(() => { said.textContent = before; }, 2500);
});

document.addEventListener("DOMContentLoaded", () => {
  const signal = document.querySelector(".pt-signal[data-poll]");
  if (!signal || signal.dataset.state !== "waiting") return;

  const ask = async () => {
    try {
      const answer = await fetch(signal.dataset.poll, { headers: { Accept: "application/json" } });
      const first = answer.ok ? await answer.json() : { index: null };
      if (first.index !== null) return arrived(first);
    } catch {
      // The server is away for a moment; ask again.
    }
    setTimeout(ask, 2000);
  };

  const arrived = (first) => {
    signal.dataset.state = "arrived";
    const link = document.createElement("a");
    link.href = first.url;
    link.textContent = `record #${first.index}`;
    signal.querySelector("[data-text]").replaceChildren(`The first record is here: ${first.kind}, `, link, ".");
  };

  setTimeout(ask, 2000);
});

// Approving from a row of the list: the form of the page behind the link, in a dialog. Escape closes it, and the focus
// returns to the row; a second click while the first is under way sends nothing.
document.addEventListener("click", (event) => {
  const dialog = document.getElementById("decide");
  const link = event.target.closest("a[data-decide]");
  if (dialog && event.target.closest("[data-close]")) return dialog.close();
  if (!dialog || !link || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  const form = dialog.querySelector("form");
  form.action = link.href;
  form.elements.once.value = link.dataset.once;
  form.elements.terms.value = link.dataset.terms;
  form.elements.reason.value = "";
  form.querySelector("button:not([type])").disabled = false;
  dialog.querySelector("#decide-title").textContent = link.dataset.decide;
  dialog.querySelector("#decide-lead").textContent = link.dataset.lead;
  dialog.querySelector("#decide-page").href = link.dataset.page;
  dialog.showModal();
  form.elements.reason.focus();
});

document.addEventListener("submit", (event) => {
  if (!event.target.closest("#decide")) return;
  event.target.querySelector("button:not([type])").disabled = true;
});
