// Tables: a click on a heading sorts the lines, another one turns them around.
// A cell says in `data-value` what it is sorted by, unless its text does.
function makeSortable(table) {
  const body = table.tBodies[0];
  table.querySelectorAll(".names th").forEach((heading, column) => {
    const button = document.createElement("button");
    button.append(...heading.childNodes);
    heading.append(button);
    const isWord = heading.classList.contains("word");
    const number = text => isWord ? NaN : Number.parseFloat(text);
    button.addEventListener("click", () => {
      const up = heading.getAttribute("aria-sort") !== "ascending";
      for (const other of table.querySelectorAll(".names th"))
        other.removeAttribute("aria-sort");
      heading.setAttribute("aria-sort", up ? "ascending" : "descending");
      const key = row => {
        const cell = row.cells[column];
        return cell.dataset.value ?? (cell.textContent === "-" ? "" : cell.textContent);
      };
      const compare = (a, b) => {
        if (key(a) === "" || key(b) === "") return (key(a) === "") - (key(b) === "");
        const order = number(key(a)) - number(key(b));
        const sign = up ? 1 : -1;
        return sign * (Number.isNaN(order) ? key(a).localeCompare(key(b)) : order);
      };
      body.append(...[...body.rows].sort(compare));
    });
  });
}
document.querySelectorAll("table.sortable").forEach(makeSortable);
// Of several parts one is shown, which a menu selects; all of them are printed.
for (const group of document.querySelectorAll("[data-choice]")) {
  const parts = [...group.children];
  if (parts.length < 2) continue;
  const menu = document.createElement("select");
  for (const part of parts) menu.add(new Option(part.dataset.name));
  const show = () =>
    parts.forEach((part, i) => { part.hidden = i !== menu.selectedIndex; });
  menu.selectedIndex = Number(group.dataset.first || 0);
  menu.addEventListener("change", show);
  const label = document.createElement("label");
  label.className = "choice";
  label.append(group.dataset.choice + ": ", menu);
  group.before(label);
  show();
}
