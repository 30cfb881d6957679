/** What opens over the page: the API key and the keys of the keyboard; and the theme, which is chosen here too. */

import { apiKey, isSendable, setApiKey } from "./api.js";
import { $, announce } from "./dom.js";
import { notice } from "./notice.js";

const THEMES = ["system", "light", "dark"];
let onKey = () => {};

/** @param {{onKey: () => void}} on what is done when there is another API key */
export function wireDialogs(on) {
  onKey = on.onKey;
  $("help-button").addEventListener("click", () => $("help").showModal());
  $("key-button").addEventListener("click", () => askForKey("Another key can be used, or this one forgotten."));
  $("key-cancel").addEventListener("click", () => $("key-dialog").close());
  $("key-forget").addEventListener("click", () => useKey(""));
  $("key-form").addEventListener("submit", (event) => {
    event.preventDefault();
    const key = $("key").value.trim();
    if (key) useKey(key);
  });
  $("theme").addEventListener("click", nextTheme);
  showTheme();
  $("key-button").hidden = !apiKey();
}

/** Ask for an API key; `reason` says why the one that was used won't do. */
export function askForKey(reason) {
  $("key-reason").textContent = apiKey() ? reason : "This service answers those who have an API key.";
  if (!isSendable(apiKey())) setApiKey("");
  $("key-button").hidden = false;
  $("key-forget").hidden = !apiKey();
  $("key").value = "";
  if (!$("key-dialog").open) $("key-dialog").showModal();
  $("key").focus();
}

/** Ask for a key. Who gives none finds below the dialog why nothing comes. */
export function wantKey(reason, which) {
  notice(new Error("This service answers those who have an API key. Enter one to go on."), {
    which,
    retry: () => wantKey(reason, which),
    button: "Enter a key",
  });
  askForKey(reason);
}

function useKey(key) {
  setApiKey(key);
  $("key").value = "";
  $("key-dialog").close();
  onKey();
}

function nextTheme() {
  const next = THEMES[(THEMES.indexOf(document.documentElement.dataset.theme ?? "system") + 1) % THEMES.length];
  if (next === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = next;
  try {
    if (next === "system") localStorage.removeItem("gan-theme");
    else localStorage.setItem("gan-theme", next);
  } catch {
    // It holds until the page is left.
  }
  showTheme();
  announce(`Theme: ${next}`);
}

function showTheme() {
  const theme = document.documentElement.dataset.theme ?? "system";
  $("theme").textContent = { system: "Auto", light: "Light", dark: "Dark" }[theme];
  $("theme").setAttribute("aria-label", `Theme: ${theme}`);
}
