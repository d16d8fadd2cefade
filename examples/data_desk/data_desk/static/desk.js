// Follows a running report's task, live. Without scripts the page reloads itself every two seconds.
const work = document.querySelector("[data-task]");
const task = work.dataset.task;
const bar = document.getElementById("progress");
const step = document.getElementById("step");
const lines = document.getElementById("lines");
const chip = document.querySelector(".heading .chip");
const words = { scheduled: "Waiting for a worker", queued: "Waiting for a worker", retrying: "Trying again" };
const number = new Intl.NumberFormat("en");
const over = ["succeeded", "failed", "revoked"];
let events;

function show({ state, progress }) {
  if (over.includes(state)) {
    location.reload();
    return;
  }
  const { current, total } = progress ?? { current: 0, total: 0 };
  if (total) {
    chip.textContent = "reading";
    bar.max = total;
    bar.value = current;
    lines.textContent = `${number.format(current)} of ${number.format(total)} lines`;
  }
  step.textContent = words[state] ?? (total && current === total ? "Drawing" : "Reading");
}

function follow() {
  events?.close();
  if (document.hidden) return;
  events = new EventSource(`${task}/events`);
  events.addEventListener("task", (event) => show(JSON.parse(event.data)));
  events.addEventListener("end", () => events.close());
  events.addEventListener("error", () => {
    // Connecting again is the browser's work; it gives up where it was refused.
    if (events.readyState === EventSource.CLOSED) ask();
  });
}

// Where there is no stream to be had, and once it may be worth another try.
async function ask() {
  try {
    const response = await fetch(`${task}?wait=5`);
    if (response.ok) show(await response.json());
  } catch {
    // the server restarts, or the network is away
  }
  setTimeout(follow, 2000);
}

// A browser has six connections to a site: one that nobody looks at is given back.
document.addEventListener("visibilitychange", follow);

follow();
