// Sorting and filtering of tables, and picking out groups in figures. Without this script the page
// shows the same numbers.
"use strict";
for (const table of document.querySelectorAll("table")) {
  const body = table.tBodies[0];
  const value = (row, place) => row.cells[place].firstChild?.textContent.trim() ?? "";
  const number = (text) => {
    const plain = text.replace(/−/g, "-").replace(/,/g, "").replace("∞", "Infinity");
    const found = plain.match(/^[-+]?(\d+\.?\d*(e[-+]?\d+)?|Infinity)/);
    return found ? Number(found[0]) : NaN;
  };
  [...table.tHead.rows[0].cells].forEach((head, place) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(head.firstChild); // the name; the link to its definition stays beside it
    head.prepend(button);
    button.addEventListener("click", () => {
      const sign = head.getAttribute("aria-sort") === "ascending" ? -1 : 1;
      for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", sign > 0 ? "ascending" : "descending");
      const rows = [...body.rows].map((row) => [row, value(row, place)]);
      const numeric = rows.every(([, text]) => !Number.isNaN(number(text)) || text === "–");
      rows.sort(([, one], [, other]) => {
        if (!numeric) return sign * one.localeCompare(other, undefined, { numeric: true });
        const [a, b] = [number(one), number(other)];
        // A missing number stands last, whichever way the others go.
        if (Number.isNaN(a) || Number.isNaN(b)) return Number.isNaN(a) - Number.isNaN(b);
        return a === b ? 0 : sign * (a < b ? -1 : 1);
      });
      body.append(...rows.map(([row]) => row));
    });
  });
  if (body.rows.length < 12) continue;
  const label = document.createElement("label");
  label.className = "filter";
  const input = document.createElement("input");
  input.type = "search";
  label.append("Show rows with ", input);
  table.parentElement.before(label);
  input.addEventListener("input", () => {
    const wanted = input.value.toLowerCase();
    for (const row of body.rows) row.hidden = !row.textContent.toLowerCase().includes(wanted);
  });
}
for (const picker of document.querySelectorAll("fieldset.groups")) {
  picker.hidden = false;
  const figure = picker.closest("figure");
  picker.addEventListener("change", (event) => {
    const lines = figure.querySelectorAll(`[id*="-${event.target.value}-"]`);
    for (const line of lines) line.classList.toggle("picked", event.target.checked);
  });
}
