// Follows a running report. Without scripts the page reloads itself every two seconds.
const work = document.querySelector("[data-status]");
const bar = document.getElementById("progress");
const step = document.getElementById("step");
const lines = document.getElementById("lines");
const chip = document.querySelector(".heading .chip");
const words = { PENDING: "Waiting for a worker", RETRY: "Trying again" };
const number = new Intl.NumberFormat("en");

async function look() {
  const response = await fetch(work.dataset.status, { headers: { Accept: "application/json" } });
  if (!response.ok) throw new Error(`status ${response.status}`);
  const { state, progress } = await response.json();
  if (["SUCCESS", "FAILURE", "REVOKED"].includes(state)) {
    location.reload();
    return false;
  }
  if (state === "PROGRESS") chip.textContent = "reading";
  bar.max = progress.total || 1;
  bar.value = progress.current;
  step.textContent = words[state] ?? (progress.current < progress.total ? "Reading" : "Drawing");
  lines.textContent = `${number.format(progress.current)} of ${number.format(progress.total)} lines`;
  return true;
}

async function follow() {
  let wait = 400;
  for (;;) {
    await new Promise((resolve) => setTimeout(resolve, wait));
    if (document.hidden) continue;
    try {
      if (!(await look())) return;
      wait = 400;
    } catch {
      wait = Math.min(wait * 2, 5000); // the server restarts, or the network is away
    }
  }
}

follow();
