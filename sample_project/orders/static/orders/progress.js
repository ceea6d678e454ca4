// Keeps the progress of an order's jobs up to date, and sends tasks, without reloading the page.
"use strict";

const EVERY = 600; // milliseconds between two looks while a job is under way

const shown = new Map(); // the HTML of each part as it was last received
let timer = null;
let asked = 0; // looks may overtake each other: an answer counts unless a later one was shown
let answered = 0;

async function ask(address, options) {
  const before = ++asked;
  const answer = await fetch(address, options);
  if (!answer.ok) throw new Error(`The site answered ${answer.status}.`);
  const html = await answer.text();
  const number = options ? ++asked : before; // a press makes looks that began earlier out of date
  if (number > answered) {
    answered = number;
    show(html);
  }
}

function show(html) {
  const page = new DOMParser().parseFromString(html, "text/html");
  const fresh = page.getElementById("progress");
  const stale = document.getElementById("progress");
  if (!fresh) throw new Error("The site answered with another page.");

  for (const part of fresh.querySelectorAll("[data-part]")) {
    const text = part.outerHTML;
    if (shown.get(part.id) === text) continue; // so that an opened traceback stays open
    shown.set(part.id, text);
    place(part);
  }
  if (!fresh.querySelector("#none")) document.getElementById("none")?.remove();

  const news = fresh.querySelector("#news").innerHTML.trim();
  if (news) document.getElementById("messages").innerHTML = news;
  showFlow(fresh);
  stale.dataset.over = fresh.dataset.over;
}

// The workflow's steps, and the buttons that make sense where it stands.
function showFlow(fresh) {
  const steps = fresh.querySelector("#flow-news").innerHTML;
  if (shown.get("flow") !== steps) {
    shown.set("flow", steps);
    document.getElementById("flow").innerHTML = steps;
  }
  const moves = fresh.dataset.moves.split(" ");
  for (const form of document.querySelectorAll("form[data-move]")) {
    form.hidden = !moves.includes(form.dataset.move);
  }
}

function place(part) {
  const old = document.getElementById(part.id);
  const index = Array.from(part.parentElement.children).indexOf(part);
  if (part.dataset.state && part.dataset.state !== old?.dataset.state) {
    part.classList.add("news");
    const word = part.querySelector(".state").textContent;
    document.getElementById("spoken").textContent = `${part.dataset.name}: ${word}`;
  }
  if (old) {
    old.replaceWith(part.cloneNode(true));
  } else {
    const list = document.getElementById(part.parentElement.id);
    list.insertBefore(part.cloneNode(true), list.children[index] ?? null);
    document.getElementById(part.id).scrollIntoView({ block: "nearest", behavior: "smooth" });
  }
}

function lookLater() {
  clearTimeout(timer);
  if (document.getElementById("progress").dataset.over === "no") timer = setTimeout(look, EVERY);
}

async function look() {
  try {
    await ask(document.getElementById("progress").dataset.url);
    delete document.body.dataset.lost;
  } catch {
    document.body.dataset.lost = "The site does not answer; trying again.";
  }
  lookLater();
}

async function press(event) {
  event.preventDefault();
  const form = event.currentTarget;
  const button = form.querySelector("button");
  button.disabled = true;
  document.getElementById("messages").replaceChildren();
  try {
    await ask(form.action, {
      method: "POST",
      body: new FormData(form),
      headers: { fetch: "1" },
    });
  } catch (error) {
    const message = document.createElement("p");
    message.className = "message";
    message.textContent = `That went wrong: ${error.message}`;
    document.getElementById("messages").replaceChildren(message);
  } finally {
    button.disabled = false;
  }
  clearTimeout(timer);
  timer = setTimeout(look, EVERY);
}

for (const part of document.querySelectorAll("[data-part]")) shown.set(part.id, part.outerHTML);
for (const form of document.querySelectorAll("form[data-press], form[data-move]")) {
  form.addEventListener("submit", press);
}
lookLater();
