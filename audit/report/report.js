// Sorting, filtering and saving of tables, picking out groups in figures and saving these. Without this script the page
// shows the same numbers.
"use strict";
const save = (name, kind, content) => {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(content instanceof Blob ? content : new Blob([content], { type: kind }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
};
const fileName = (text) => text.toLowerCase().replace(/[^a-z0-9]+/g, "-").replace(/^-+|-+$/g, "").slice(0, 60) || "table";
const buttons = (place, ...made) => {
  const line = document.createElement("p");
  line.className = "save";
  for (const [label, act] of made) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = label;
    button.addEventListener("click", act);
    line.append(button);
  }
  place.after(line);
};
// A cell's value, its flag or interval beside it in a column of its own where any row has one.
const parts = (cell) => {
  const beside = cell.querySelector(".interval, .flag")?.textContent.trim() ?? "";
  const whole = cell.textContent.trim();
  return [beside ? whole.slice(0, whole.length - beside.length).trim() : whole, beside];
};
const field = (text) => {
  const plain = text.replace(/^−/, "-").replaceAll("\u00a0", " ");
  // A name must not be a formula to the program that opens the file.
  const safe = /^[=+\-@\t\r]/.test(plain) && !/^[-+]?\d/.test(plain) ? `'${plain}` : plain;
  return `"${safe.replaceAll('"', '""')}"`;
};
const csv = (table) => {
  const heads = [...table.tHead.rows[0].cells].map((head) =>
    [...head.childNodes].filter((node) => node.nodeName !== "A").map((node) => node.textContent).join("").trim());
  const rows = [...table.tBodies[0].rows].map((row) => [...row.cells].map(parts));
  const twice = heads.map((_, place) => rows.some((row) => row[place][1]));
  const beside = heads.map((head, place) => (place ? `${head}, beside it` : "flag"));
  const lines = [heads.flatMap((head, place) => (twice[place] ? [head, beside[place]] : [head]))];
  for (const row of rows) lines.push(row.flatMap((own, place) => (twice[place] ? own : [own[0]])));
  return "\ufeff" + lines.map((line) => line.map(field).join(",")).join("\r\n") + "\r\n";
};
for (const region of document.querySelectorAll("div.table")) {
  const name = fileName(region.getAttribute("aria-label"));
  const table = region.querySelector("table");
  buttons(region, ["Save as CSV", () => save(`${name}.csv`, "text/csv", csv(table))]);
}
document.querySelectorAll("figure svg").forEach((drawing, place) => {
  const name = `figure-${place + 1}`;
  const text = () => new XMLSerializer().serializeToString(drawing);
  const raster = () => {
    const image = new Image();
    image.onload = () => {
      const canvas = document.createElement("canvas");
      [canvas.width, canvas.height] = [2 * image.naturalWidth, 2 * image.naturalHeight];
      const brush = canvas.getContext("2d");
      brush.fillStyle = "white";
      brush.fillRect(0, 0, canvas.width, canvas.height);
      brush.drawImage(image, 0, 0, canvas.width, canvas.height);
      canvas.toBlob((blob) => save(`${name}.png`, "image/png", blob));
    };
    image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(text())}`;
  };
  buttons(drawing.closest("figure").lastElementChild, ["Save as SVG", () => save(`${name}.svg`, "image/svg+xml", text())], ["Save as PNG", raster]);
});
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
