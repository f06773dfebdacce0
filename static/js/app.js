// What the dashboard does with scripts on: every page works without it.
"use strict";

(() => {
  const root = document.documentElement;
  root.classList.add("scripted");

  // Copying.
  document.addEventListener("click", async (event) => {
    const button = event.target.closest("button.copy");
    if (!button) return;
    const source = button.dataset.from && document.getElementById(button.dataset.from);
    const text = source ? (source.value ?? source.textContent) : button.dataset.copy;
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      const area = document.createElement("textarea");
      area.value = text;
      document.body.append(area);
      area.select();
      document.execCommand("copy");
      area.remove();
    }
    button.classList.add("done");
    setTimeout(() => button.classList.remove("done"), 1200);
  });

  // Times: relative and kept fresh, exact on hover in the viewer's zone.
  const steps = [[60, "s", 1], [3600, "min", 60], [86400, "h", 3600], [Infinity, "d", 86400]];
  const relative = (seconds) => {
    const size = Math.abs(seconds);
    if (size < 1) return "now";
    const [, unit, divisor] = steps.find(([limit]) => size < limit);
    const text = `${Math.floor(size / divisor)} ${unit}`;
    return seconds > 0 ? `${text} ago` : `in ${text}`;
  };
  const exact = new Intl.DateTimeFormat(undefined, {
    dateStyle: "medium", timeStyle: "medium", timeZoneName: undefined,
  });
  const freshen = () => {
    for (const time of document.querySelectorAll("time[data-relative]")) {
      const at = new Date(time.dateTime);
      time.textContent = relative((Date.now() - at) / 1000);
      time.title = exact.format(at);
    }
  };
  const zone = document.getElementById("zone");
  if (zone) zone.textContent = Intl.DateTimeFormat().resolvedOptions().timeZone;
  if (document.querySelector("time[data-relative]")) {
    freshen();
    setInterval(freshen, 10000);
  }

  // Menus close when something else is wanted.
  document.addEventListener("click", (event) => {
    for (const fold of document.querySelectorAll("details.over[open]")) {
      if (!fold.contains(event.target)) fold.open = false;
    }
  });

  // Choosing rows, and what is done with all that are chosen.
  const count = () => {
    const chosen = document.querySelectorAll("input[name=chosen]:checked").length;
    for (const place of document.querySelectorAll("[data-chosen]")) place.textContent = chosen;
  };
  document.addEventListener("change", (event) => {
    if (event.target.matches("input[data-all]")) {
      for (const box of document.querySelectorAll("input[name=chosen]")) {
        box.checked = event.target.checked;
      }
    }
    if (event.target.matches("input[name=chosen], input[data-all]")) count();
    const into = event.target.matches("input[type=file][data-into]") && event.target.files[0];
    if (into) {
      const reader = new FileReader();
      reader.onload = () => {
        document.getElementById(event.target.dataset.into).value = reader.result;
      };
      reader.readAsDataURL(into);
    }
  });

  // A list of many boxes is searched.
  for (const input of document.querySelectorAll("input[data-narrows]")) {
    const tree = document.getElementById(input.dataset.narrows);
    input.closest(".field").hidden = false;
    input.addEventListener("input", () => {
      const wanted = input.value.trim().toLowerCase();
      for (const item of tree.querySelectorAll("li[data-name]")) {
        item.hidden = wanted !== "" && !item.dataset.name.includes(wanted);
      }
    });
  }
  for (const box of document.querySelectorAll("input[data-group]")) {
    box.addEventListener("change", () => {
      for (const other of box.closest("li").querySelectorAll("ul input")) {
        other.disabled = box.checked;
        if (box.checked) other.checked = false;
      }
    });
  }

  // Keys.
  const rows = () => [...document.querySelectorAll("table.list tbody tr")];
  const mark = (step) => {
    const all = rows();
    if (all.length === 0) return;
    const now = all.findIndex((row) => row.classList.contains("marked"));
    const next = Math.max(0, Math.min(all.length - 1, now === -1 ? 0 : now + step));
    all.forEach((row, at) => row.classList.toggle("marked", at === next));
    all[next].scrollIntoView({ block: "nearest" });
  };
  const marked = () => document.querySelector("tr.marked");
  const shortcuts = [
    ["/", "Search", () => document.querySelector(".search input")?.focus()],
    ["j", "Next row", () => mark(1)],
    ["k", "Row before", () => mark(-1)],
    ["Enter", "Open the row", () => marked()?.querySelector("a[href]")?.click()],
    ["r", "Replay", () => (marked() ?? document).querySelector("[data-replay]")?.click()],
    ["?", "This list", () => help()],
  ];
  const help = () => {
    let dialog = document.getElementById("shortcuts");
    if (!dialog) {
      dialog = document.createElement("dialog");
      dialog.id = "shortcuts";
      const heading = document.createElement("h2");
      heading.textContent = "Keyboard";
      const list = document.createElement("dl");
      list.className = "kv";
      for (const [key, what] of shortcuts) {
        const term = document.createElement("dt");
        const shown = document.createElement("kbd");
        shown.textContent = key;
        term.append(shown);
        const words = document.createElement("dd");
        words.textContent = what;
        list.append(term, words);
      }
      const form = document.createElement("form");
      form.method = "dialog";
      const button = document.createElement("button");
      button.className = "button";
      button.textContent = "Close";
      form.append(button);
      dialog.append(heading, list, form);
      document.body.append(dialog);
    }
    dialog.showModal();
  };
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target.closest("input, textarea, select, dialog, [contenteditable]")) return;
    const found = shortcuts.find(([key]) => key === event.key);
    if (!found) return;
    if (event.key === "Enter" && (event.target !== document.body || !marked())) return;
    event.preventDefault();
    found[2]();
  });

  // Dragging over a chart shows the time that was dragged over.
  for (const chart of document.querySelectorAll("figure[data-zoom]")) {
    const svg = chart.querySelector("svg");
    const { start, slot, step, zoom } = chart.dataset;
    const left = 44;
    const band = document.createElementNS(svg.namespaceURI, "rect");
    band.setAttribute("class", "dragged");
    band.setAttribute("y", 8);
    band.setAttribute("height", 140);
    const slotAt = (event) => {
      const box = svg.getBoundingClientRect();
      const x = (event.clientX - box.left) * svg.viewBox.baseVal.width / box.width;
      const last = Math.floor((svg.viewBox.baseVal.width - left) / step) - 1;
      return Math.max(0, Math.min(last, Math.floor((x - left) / step)));
    };
    let from = null;
    let to = null;
    svg.addEventListener("dragstart", (event) => event.preventDefault());
    svg.addEventListener("pointerdown", (event) => {
      if (event.button !== 0 || event.pointerType === "touch") return;
      from = slotAt(event);
      to = null;
    });
    document.addEventListener("pointermove", (event) => {
      if (from === null) return;
      to = slotAt(event);
      if (to === from && !band.isConnected) return;
      band.setAttribute("x", left + Math.min(from, to) * step);
      band.setAttribute("width", (Math.abs(to - from) + 1) * step);
      svg.append(band);
    });
    document.addEventListener("pointerup", () => {
      if (from === null) return;
      const [first, last] = [Math.min(from, to ?? from), Math.max(from, to ?? from)];
      const dragged = band.isConnected;
      from = null;
      band.remove();
      if (!dragged) return;
      // The click that ends the dragging opens no bar.
      const swallow = (event) => event.preventDefault();
      svg.addEventListener("click", swallow, { once: true });
      setTimeout(() => svg.removeEventListener("click", swallow), 0);
      const at = (slots) => Number(start) + slots * Number(slot);
      location.assign(`${zoom}?from=${at(first)}&to=${at(last + 1)}`);
    });
    document.addEventListener("keydown", (event) => {
      if (event.key !== "Escape") return;
      from = null;
      band.remove();
    });
  }

  // Live: new rows come in at the top, and wait while somebody reads.
  const body = document.querySelector("tbody[data-live]");
  if (body) {
    const dot = document.querySelector(".live");
    const waiting = [];
    const most = 200;
    const pill = document.getElementById("fresh");
    const reads = () => window.scrollY > 200 || body.matches(":hover")
      || body.querySelector(":checked, .marked, details[open]") !== null
      || String(getSelection()) !== "";
    const show = () => {
      while (waiting.length > 0) {
        const row = waiting.shift();
        const old = document.getElementById(row.id);
        if (old) old.replaceWith(row);
        else body.prepend(row);
      }
      while (body.rows.length > most) body.lastElementChild.remove();
      document.getElementById("no-rows")?.remove();
      pill.hidden = true;
      freshen();
    };
    pill?.addEventListener("click", show);
    const source = new EventSource(body.dataset.live);
    source.addEventListener("open", () => {
      dot.classList.add("on");
      dot.textContent = "live";
    });
    source.addEventListener("error", () => {
      dot.classList.remove("on");
      dot.textContent = "reconnecting";
    });
    source.addEventListener("rows", (event) => {
      const parsed = new DOMParser().parseFromString(
        `<table><tbody>${event.data}</tbody></table>`, "text/html");
      waiting.push(...parsed.querySelectorAll("tr"));
      waiting.splice(0, Math.max(0, waiting.length - most));
      if (!reads()) return show();
      pill.textContent = `${waiting.length} new`;
      pill.hidden = false;
    });
    addEventListener("pagehide", () => source.close());
  }

  // What is still on its way is looked at again, unless somebody is at work here.
  let touched = false;
  for (const kind of ["click", "keydown"]) {
    document.addEventListener(kind, () => { touched = true; });
  }
  const again = document.querySelector("[data-again]");
  if (again) {
    setTimeout(() => {
      if (!touched && String(getSelection()) === "") location.reload();
    }, Number(again.dataset.again));
  }
})();
