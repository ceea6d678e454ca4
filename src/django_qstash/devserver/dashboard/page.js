// The dashboard: asks for one overview, shows it, and asks again when the server says that
// something changed. Texts go in as text, never as markup: they come from messages.

const token = document.querySelector('meta[name="qstash-token"]').content;
const $ = (selector, root = document) => root.querySelector(selector);
const $$ = (selector, root = document) => [...root.querySelectorAll(selector)];

let skew = 0; // the server's clock minus ours, in milliseconds
let shown = null; // the id of the message in the dialog
let editing = false; // the fault form holds what is not applied yet

function el(tag, props = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (name === "class") node.className = value;
    else if (name === "label") node.dataset.label = value;
    else if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== false && value != null) node.setAttribute(name, value);
  }
  node.append(...children.filter((child) => child != null && child !== ""));
  return node;
}

async function call(method, path, body) {
  const response = await fetch(path, {
    method,
    headers: { Authorization: `Bearer ${token}`, "Content-Type": "application/json" },
    body: body === undefined ? undefined : JSON.stringify(body),
  });
  const text = await response.text();
  let value = {};
  try { value = JSON.parse(text); } catch { /* an empty answer */ }
  if (!response.ok) throw new Error(value.error || `${response.status} ${response.statusText}`);
  return value;
}

function trouble(error) {
  const box = $("#trouble");
  box.textContent = error ? error.message || String(error) : "";
  box.hidden = !error;
}

async function act(button, method, path, body) {
  button.disabled = true;
  try {
    await call(method, path, body);
    trouble(null);
    await refresh();
  } catch (error) {
    trouble(error);
  } finally {
    button.disabled = false;
  }
}

const action = (text, method, path, title) =>
  el("button", { type: "button", title, onclick: (event) => { event.stopPropagation(); act(event.currentTarget, method, path); } }, text);

// Times and words.

const now = () => Date.now() + skew;

function duration(milliseconds) {
  const seconds = Math.abs(milliseconds) / 1000;
  if (seconds < 1) return "now";
  if (seconds < 90) return `${Math.round(seconds)} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  if (seconds < 129600) return `${Math.round(seconds / 3600)} h`;
  return `${Math.round(seconds / 86400)} d`;
}

function relative(time) {
  const words = duration(time - now());
  if (words === "now") return words;
  return time > now() ? `in ${words}` : `${words} ago`;
}

// Repainted every second without asking the server.
const when = (time, words = "") =>
  time ? el("time", { datetime: new Date(time).toISOString(), title: new Date(time).toLocaleString(), "data-time": time, "data-words": words }, words + relative(time)) : "";

const LOOKS = {
  CREATED: ["waiting", ""], ACTIVE: ["active", "busy"], RETRY: ["retry", "warn"], ERROR: ["error", "bad"],
  DELIVERED: ["delivered", "good"], FAILED: ["failed", "bad"], CANCELED: ["canceled", ""],
  CANCEL_REQUESTED: ["cancel requested", ""], SUCCESS: ["delivered", "good"], FAIL: ["failed", "bad"],
  IN_PROGRESS: ["in progress", "busy"],
};
const pill = (state) => {
  const [word, look] = LOOKS[state] || [state, ""];
  return el("span", { class: `pill ${look}` }, word);
};

const answer = (status, error) =>
  status == null ? "" : status === 0 ? error || "no answer" : error || String(status);

// A row that says what it said stays the very element it was, and where it was: else a click that is
// half done, or the keyboard's focus, would be lost whenever anything else changes.
const fill = (id, values, make) => {
  const body = $(`#${id} tbody`);
  const standing = new Map([...body.children].map((row) => [row.says, row]));
  const rows = values.map((value) => {
    const says = JSON.stringify([value, value.nextTime > now()]);
    return standing.get(says) || Object.assign(make(value), { says });
  });
  const wanted = new Set(rows);
  for (const row of standing.values()) if (!wanted.has(row)) row.remove();
  let next = body.firstElementChild;
  for (const row of rows) {
    if (row === next) next = next.nextElementSibling;
    else body.insertBefore(row, next);
  }
  $(`#${id}`).hidden = rows.length === 0;
  $(`[data-empty="${id}"]`).hidden = rows.length > 0;
};

const path = (name) => encodeURIComponent(name);

// The sections.

function messageRow(message) {
  const open = () => show(message.messageId);
  const pending = message.nextTime != null;
  const extras = [message.queueName && `queue ${message.queueName}`, message.source && "callback",
    message.scheduleId && `schedule ${message.scheduleId}`, ...message.labels].filter(Boolean).join(" · ");
  return el("tr", { class: "open", onclick: open, "data-id": message.messageId },
    el("td", {}, pill(message.state)),
    el("td", {},
      el("button", { class: "name", type: "button", onclick: (event) => { event.stopPropagation(); open(); } }, message.task || message.url),
      el("div", { class: "under" }, [message.task ? message.url : "", extras].filter(Boolean).join(" · "))),
    el("td", { label: "Attempts", class: "nowrap" }, attempts(message)),
    el("td", { label: "When", class: "nowrap" },
      message.held || (pending && message.nextTime > now() ? when(message.nextTime, "due ") : when(message.finishedAt || message.createdAt))),
    el("td", { label: "Last answer" }, answer(message.lastStatus, message.lastError)),
    el("td", { class: "act" },
      pending && message.state !== "ACTIVE" && message.nextTime > now()
        ? action("Deliver now", "POST", `/_dev/messages/${path(message.messageId)}/deliver`, "Do not wait any longer") : "",
      pending ? action("Cancel", "DELETE", `/v2/messages/${path(message.messageId)}`) : ""));
}

function attempts(message) {
  const made = message.state === "CREATED" ? 0 : message.retried + (message.state === "RETRY" ? 0 : 1);
  return `${made} of ${message.maxRetries + 1}`;
}

function deadRow(entry) {
  return el("tr", {},
    el("td", {}, el("span", { class: "pill bad" }, entry.responseStatus || "no answer")),
    el("td", {},
      el("button", { class: "name", type: "button", onclick: () => showDead(entry) }, entry.task || entry.url),
      el("div", { class: "under" }, entry.task ? entry.url : entry.messageId)),
    el("td", { label: "Answer" }, (entry.responseBody || "").slice(0, 200)),
    el("td", { label: "Failed", class: "nowrap" }, when(Number(entry.dlqId.split("-")[0]))),
    el("td", { class: "act" },
      action("Retry", "POST", `/v2/dlq/retry/${path(entry.dlqId)}`, "Publish it again"),
      action("Delete", "DELETE", `/v2/dlq/${path(entry.dlqId)}`)));
}

function scheduleRow(schedule) {
  const id = path(schedule.scheduleId);
  const states = Object.values(schedule.lastScheduleStates || {});
  return el("tr", {},
    el("td", {}, el("strong", {}, schedule.scheduleId), el("div", { class: "under" }, schedule.destination)),
    el("td", { label: "Cron" }, el("code", {}, schedule.cron)),
    el("td", { label: "Next fire", class: "nowrap" }, schedule.isPaused ? el("span", { class: "pill warn" }, "paused") : when(schedule.nextScheduleTime)),
    el("td", { label: "Last fire" }, schedule.lastScheduleTime ? when(schedule.lastScheduleTime) : "never", " ", ...states.map(pill), schedule.error ? el("span", { class: "pill bad" }, schedule.error) : ""),
    el("td", { class: "act" },
      action("Fire now", "POST", `/_dev/schedules/${id}/fire`),
      schedule.isPaused ? action("Resume", "POST", `/v2/schedules/${id}/resume`) : action("Pause", "POST", `/v2/schedules/${id}/pause`),
      action("Delete", "DELETE", `/v2/schedules/${id}`)));
}

const paused = (is) => el("span", { class: `pill ${is ? "warn" : "good"}` }, is ? "paused" : "running");

function queueRow(queue) {
  const id = path(queue.name);
  return el("tr", {},
    el("td", {}, el("strong", {}, queue.name)),
    el("td", { label: "Undelivered" }, String(queue.lag)),
    el("td", { label: "Parallelism" }, String(queue.parallelism)),
    el("td", {}, paused(queue.paused)),
    el("td", { class: "act" }, queue.paused ? action("Resume", "POST", `/v2/queues/${id}/resume`) : action("Pause", "POST", `/v2/queues/${id}/pause`)));
}

function flowRow(key) {
  const id = path(key.flowControlKey);
  const of = (count, most) => (most ? `${count} of ${most}` : String(count));
  return el("tr", {},
    el("td", {}, el("strong", {}, key.flowControlKey)),
    el("td", { label: "Waiting" }, String(key.waitListSize)),
    el("td", { label: "Running" }, of(key.parallelismCount, key.parallelismMax)),
    el("td", { label: "Rate" }, key.rateMax ? `${of(key.rateCount, key.rateMax)} in ${key.ratePeriod} s` : "no limit"),
    el("td", {}, paused(key.isPaused), key.isPinnedParallelism || key.isPinnedRate ? el("span", { class: "pill" }, "pinned") : ""),
    el("td", { class: "act" },
      key.isPaused ? action("Resume", "POST", `/v2/flowControl/${id}/resume`) : action("Pause", "POST", `/v2/flowControl/${id}/pause`),
      action("Reset rate", "POST", `/v2/flowControl/${id}/resetRate`)));
}

const groupRow = (group) => el("tr", {},
  el("td", {}, el("strong", {}, group.name)),
  el("td", { label: "Endpoints" }, group.endpoints.map((endpoint) => (endpoint.name ? `${endpoint.name}: ` : "") + endpoint.url).join(", ")));

function counts(value) {
  const words = [["CREATED", "waiting"], ["ACTIVE", "active"], ["RETRY", "to be retried"], ["DELIVERED", "delivered"], ["FAILED", "failed"], ["CANCELED", "canceled"]];
  $("#counts").replaceChildren(...words.filter(([name]) => value[name]).map(([name, word]) => el("li", {}, el("b", {}, String(value[name])), ` ${word}`)));
}

function knobs(value) {
  const on = ["duplicate", "reorder", "delay", "drop_ack", "refuse"].some((name) => value[name] > 0);
  $("#faults-on").hidden = !on;
  if (editing) return;
  for (const [name, setting] of Object.entries(value)) {
    const input = $(`#faults [name="${name}"]`);
    if (input) input.value = setting ?? "";
  }
}

// One message.

const headers = (map) => Object.entries(map || {}).map(([name, values]) => `${name}: ${values.join(", ")}`).join("\n");

function pretty(text) {
  try { return JSON.stringify(JSON.parse(text), null, 2); } catch { return text; }
}

const block = (title, text) => (text ? [el("h3", {}, title), el("pre", {}, text)] : []);

function facts(pairs) {
  return el("dl", {}, ...pairs.filter(([, value]) => value !== "" && value != null).flatMap(([name, value]) => [el("dt", {}, name), el("dd", {}, value)]));
}

function logLine(line) {
  const words = line.status != null ? `${answer(line.status, line.error)} in ${line.milliseconds} ms` : line.next ? when(line.next, "next ") : "";
  const reply = [headers(line.header), line.body ? pretty(line.body) : line.bodyBase64 ? `base64 ${line.bodyBase64}` : ""].filter(Boolean).join("\n\n");
  return el("li", {}, el("span", { class: "nowrap soft" }, new Date(line.time).toLocaleTimeString()), el("span", {}, pill(line.state)), el("span", {}, words), reply ? el("pre", {}, reply) : "");
}

async function show(id) {
  shown = id;
  try {
    const message = await call("GET", `/_dev/messages/${path(id)}`);
    if (shown !== id) return;
    $("#detail-title").textContent = message.task || message.url;
    $("#detail-body").replaceChildren(
      facts([
        ["State", pill(message.state)], ["Attempts", attempts(message)], ["To", `${message.method} ${message.url}`], ["Message", message.messageId],
        ["Waits for", message.held], ["Created", when(message.createdAt)], ["Due", message.nextTime ? when(message.nextTime) : ""], ["Queue", message.queueName],
        ["Flow control", message.flowControlKey], ["Labels", message.labels.join(", ")], ["URL group", message.topicName], ["Schedule", message.scheduleId],
        ["Callback", message.callback], ["Failure callback", message.failureCallback], ["Retry delay", message.retryDelayExpression], ["Callback of", message.source],
      ]),
      ...block("Headers", headers(message.header)),
      ...block("Body", message.body ? pretty(message.body) : message.bodyBase64 ? `base64 ${message.bodyBase64}` : ""),
      el("h3", {}, "What happened"), el("ol", { class: "log" }, ...message.log.map(logLine)));
    open();
  } catch (error) {
    shown = null;
    trouble(error);
  }
}

function showDead(entry) {
  shown = null;
  $("#detail-title").textContent = entry.task || entry.url;
  $("#detail-body").replaceChildren(
    facts([["Status", String(entry.responseStatus || "no answer")], ["To", `${entry.method} ${entry.url}`], ["Message", entry.messageId], ["Dead letter", entry.dlqId], ["Failed", when(Number(entry.dlqId.split("-")[0]))]]),
    ...block("Answer's headers", headers(entry.responseHeader)),
    ...block("Answer", pretty(entry.responseBody || entry.responseBodyBase64 || "")),
    ...block("Headers", headers(entry.header)),
    ...block("Body", pretty(entry.body || entry.bodyBase64 || "")));
  open();
}

function open() {
  if (!$("#detail").open) $("#detail").showModal();
}

// Keeping up.

const query = () => {
  const form = new FormData($("#filter"));
  const given = [...form.entries()].filter(([, value]) => value.trim() !== "");
  return given.length ? "?" + new URLSearchParams(given.map(([name, value]) => [name, value.trim()])) : "";
};

let asked = 0;
async function refresh() {
  const number = ++asked;
  const value = await call("GET", "/_dev/overview" + query());
  if (number !== asked) return; // a later question is under way
  skew = value.now - Date.now();
  counts(value.counts);
  fill("messages", value.messages, messageRow);
  fill("dlq", value.dlq, deadRow);
  fill("schedules", value.schedules, scheduleRow);
  fill("queues", value.queues, queueRow);
  fill("flowControl", value.flowControl, flowRow);
  fill("urlGroups", value.urlGroups, groupRow);
  $("#dlq-size").hidden = !value.dlqSize;
  $("#dlq-size").textContent = value.dlqSize;
  knobs(value.faults);
  const names = [...new Set(value.messages.map((message) => message.task).filter(Boolean))].sort();
  $("#tasks").replaceChildren(...names.map((name) => el("option", { value: name })));
  if (shown && $("#detail").open) await show(shown);
}

function live(word, look) {
  $("#live").textContent = word;
  $("#live").className = `live ${look}`;
}

let busy = false;
let again = false;
async function keepUp() {
  if (busy) { again = true; return; }
  busy = true;
  try {
    await refresh();
    live("live", "on");
  } catch (error) {
    trouble(error);
  } finally {
    busy = false;
    if (again) { again = false; keepUp(); }
  }
}

const stream = new EventSource(`/_dev/stream?qstash_token=${encodeURIComponent(token)}`);
stream.addEventListener("open", () => { trouble(null); keepUp(); });
stream.addEventListener("change", keepUp);
stream.addEventListener("error", () => live("not connected", "off"));

setInterval(() => {
  for (const node of $$("time[data-time]")) node.textContent = node.dataset.words + relative(Number(node.dataset.time));
}, 1000);

// The controls.

function choose(name) {
  for (const tab of $$("#tabs button")) tab.setAttribute("aria-selected", String(tab.dataset.tab === name));
  for (const panel of $$("[data-panel]")) panel.hidden = panel.dataset.panel !== name;
}
$("#tabs").addEventListener("click", (event) => {
  const tab = event.target.closest("[data-tab]");
  if (!tab) return;
  choose(tab.dataset.tab);
  location.hash = tab.dataset.tab;
});
const fromHash = () => choose($(`[data-panel="${CSS.escape(location.hash.slice(1))}"]`) ? location.hash.slice(1) : "messages");
addEventListener("hashchange", fromHash);
fromHash();

let pause;
$("#filter").addEventListener("input", () => { clearTimeout(pause); pause = setTimeout(keepUp, 150); });
$("#filter").addEventListener("submit", (event) => { event.preventDefault(); keepUp(); });

$("#detail-close").addEventListener("click", () => $("#detail").close());
$("#detail").addEventListener("close", () => { shown = null; });
$("#detail").addEventListener("click", (event) => { if (event.target === event.currentTarget) event.currentTarget.close(); });

$("#faults").addEventListener("input", () => { editing = true; });
$("#faults").addEventListener("submit", (event) => {
  event.preventDefault();
  const value = {};
  for (const [name, text] of new FormData(event.currentTarget)) {
    if (text === "") continue;
    value[name] = name === "refuse_with" ? text : Number(text);
  }
  editing = false;
  act(event.submitter, "PUT", "/_dev/faults", value);
});
$("#faults-off").addEventListener("click", (event) => { editing = false; act(event.currentTarget, "DELETE", "/_dev/faults"); });

$("#copy").addEventListener("click", async (event) => {
  const button = event.currentTarget;
  try {
    await navigator.clipboard.writeText($("#environment").textContent);
    button.textContent = "Copied";
  } catch {
    getSelection().selectAllChildren($("#environment"));
    button.textContent = "Selected: copy it";
  }
  setTimeout(() => { button.textContent = "Copy"; }, 2000);
});
