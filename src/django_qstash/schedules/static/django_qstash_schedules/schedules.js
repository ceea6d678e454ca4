/* The page of one schedule: a list to search in, what a task takes, and when it will run. */
"use strict";

document.addEventListener("DOMContentLoaded", () => {
  const texts = document.getElementById("qs-texts")?.dataset;
  if (!texts) return;
  const $ = window.django?.jQuery;
  const cron = document.querySelector("input.qs-cron");
  const zone = document.querySelector("select.qs-zone");
  const task = document.querySelector("select.qs-task");

  const make = (name, text, className) => {
    const element = document.createElement(name);
    if (text) element.textContent = text;
    if (className) element.className = className;
    return element;
  };

  if ($?.fn?.select2) {
    $("select.qs-search").select2({theme: "admin-autocomplete", containerCssClass: "qs-wide"})
      .each((_, select) => select.nextElementSibling?.classList.add("qs-wide"));
  }
  // Select2 tells jQuery alone.
  const onChange = (select, act) => $ ? $(select).on("change", act) : select.addEventListener("change", act);

  if (task) {
    const known = JSON.parse(document.getElementById("qs-tasks").textContent);
    const about = make("div", "", "qs-about");
    task.closest(".form-row").append(about);
    const describe = () => {
      const found = known[task.value];
      about.hidden = !found;
      about.replaceChildren();
      if (!found) return;
      if (found.doc) about.append(make("p", found.doc));
      if (!found.parameters.length) {
        about.append(make("span", texts.nothing, "qs-default"));
        return;
      }
      about.append(`${texts.takes} `);
      found.parameters.forEach((parameter, index) => {
        if (index) about.append(", ");
        about.append(make("code", parameter.name));
        const more = parameter.default !== undefined ? ` = ${parameter.default}`
          : parameter.required ? ` (${texts.required})` : "";
        if (more) about.append(make("span", more, "qs-default"));
      });
    };
    onChange(task, describe);
    describe();
  }

  if (!cron) return;
  const presets = make("div", "", "qs-presets");
  for (const [text, expression] of [
    [texts.hour, "0 * * * *"],
    [texts.day, "0 9 * * *"],
    [texts.workday, "0 9 * * mon-fri"],
    [texts.monday, "0 9 * * mon"],
    [texts.month, "0 9 1 * *"],
  ]) {
    const button = make("button", text);
    button.type = "button";
    button.addEventListener("click", () => {
      cron.value = expression;
      show();
    });
    presets.append(button);
  }
  const saved = document.querySelector(".field-shown_runs");
  const preview = make("div", "", "qs-preview");
  preview.setAttribute("aria-live", "polite");
  cron.closest(".form-row").append(presets, preview);
  // The page's own list is of what was saved; this one is of what is being written.
  if (saved) saved.hidden = true;

  const local = new Intl.DateTimeFormat(undefined, {
    weekday: "short", day: "numeric", month: "short", hour: "2-digit", minute: "2-digit",
  });
  const here = local.resolvedOptions().timeZone;

  const wrong = answer => {
    preview.classList.add("qs-wrong");
    const lines = [make("strong", answer.error)];
    if (answer.position !== null && answer.position !== undefined) {
      const code = make("code");
      const text = `${cron.value} `;
      code.append(text.slice(0, answer.position),
        make("mark", text[answer.position] ?? " "), text.slice(answer.position + 1));
      lines.push(make("br"), code);
    }
    preview.replaceChildren(...lines);
  };

  const right = answer => {
    const list = make("ol");
    for (const run of answer.runs) {
      const line = make("li", run.shown);
      if (here !== answer.zone) {
        line.append(make("span", ` · ${texts.local} ${local.format(new Date(run.at))}`, "qs-local"));
      }
      list.append(line);
    }
    preview.replaceChildren(make("strong", answer.words), answer.runs.length ? list : texts.never);
  };

  let asked = 0;
  const show = async () => {
    const turn = ++asked;
    preview.hidden = !cron.value.trim();
    if (preview.hidden) return;
    const query = new URLSearchParams({cron: cron.value, timezone: zone?.value ?? ""});
    let answer = {error: texts.away};
    try {
      const response = await fetch(`${texts.preview}?${query}`, {credentials: "same-origin"});
      if (response.ok) answer = await response.json();
    } catch {
      // The words above say it.
    }
    if (turn !== asked) return;
    preview.classList.remove("qs-wrong");
    (answer.error ? wrong : right)(answer);
  };
  let timer;
  cron.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(show, 250);
  });
  if (zone) onChange(zone, show);
  show();
});
