// Before the first paint: a theme that was chosen earlier. Without one the system's own holds.
try {
  const chosen = localStorage.getItem("gan-theme");
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
} catch {
  // Storage may be forbidden; the system's theme will do.
}
