// Leaderboards: filters, Pareto fronts of what they leave, and single data sets.
function make(name, properties = {}, ...children) {
  const element = document.createElement(name);
  Object.assign(element, properties);
  element.append(...children);
  return element;
}

function draw(name, attributes, ...children) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

function menuOf(title, options, changed) {
  const menu = make("select");
  for (const [value, text] of options) menu.add(new Option(text, value));
  menu.addEventListener("change", changed);
  return [menu, make("label", {}, title + ": ", menu)];
}

// Which points no other one dominates; both numbers of a point are the less the better.
function frontOf(points) {
  const order = points.map((_, i) => i).filter(i => !points[i].some(Number.isNaN));
  order.sort((a, b) => points[a][0] - points[b][0] || points[a][1] - points[b][1]);
  const on = new Set();
  let leader = [NaN, Infinity];
  for (const i of order) {
    if (points[i][1] < leader[1]) leader = points[i];
    if (points[i][0] === leader[0] && points[i][1] === leader[1]) on.add(i);
  }
  return order.filter(i => on.has(i));
}

function ticksOf(low, high, isLogarithmic) {
  if (isLogarithmic) {
    const found = [];
    for (let power = Math.floor(Math.log10(low)); 10 ** power <= high; power++)
      for (const digit of [1, 2, 5]) found.push(digit * 10 ** power);
    return found.filter(x => x >= low * 0.999 && x <= high * 1.001);
  }
  const step = 10 ** Math.floor(Math.log10((high - low) / 2 || 1));
  const wide = [1, 2, 5].map(x => x * step).find(x => (high - low) / x <= 5) ?? 10 * step;
  const found = [];
  for (let i = Math.ceil(low / wide); i * wide <= high; i++) found.push(i * wide);
  return found;
}

function chartOf(points, names, on, cost, quality) {
  // In pixels of the screen, so that words are as large as all others.
  const width = Math.min(760, document.querySelector("main").clientWidth);
  const [height, left, bottom, top, right] = [380, 70, 48, 14, 24];
  const [xs, ys] = [0, 1].map(k => points.map(p => p[k]));
  const isLogarithmic = Math.min(...xs) > 0 && Math.max(...xs) / Math.min(...xs) > 8;
  const scale = (values, low, high, warp) => {
    let [a, b] = [Math.min(...values), Math.max(...values)].map(warp);
    if (a === b) [a, b] = [a - 1, b + 1];
    const pad = (b - a) * 0.05;
    return x => low + (warp(x) - a + pad) / (b - a + 2 * pad) * (high - low);
  };
  const x = scale(xs, left, width - right, isLogarithmic ? Math.log : v => v);
  const y = scale(ys, height - bottom, top, v => v);
  const svg = draw("svg", {class: "front", viewBox: `0 0 ${width} ${height}`, role: "img",
    "aria-label": `${quality} against ${cost}; the list below has the front`});
  const text = (value, attributes) => draw("text", attributes, String(value));
  for (const t of ticksOf(Math.min(...xs), Math.max(...xs), isLogarithmic))
    svg.append(draw("line", {x1: x(t), x2: x(t), y1: top, y2: height - bottom}),
      text(Number(t.toPrecision(6)), {x: x(t), y: height - bottom + 17, "text-anchor": "middle"}));
  for (const t of ticksOf(Math.min(...ys), Math.max(...ys), false))
    svg.append(draw("line", {x1: left, x2: width - right, y1: y(t), y2: y(t)}),
      text(Number(t.toPrecision(6)), {x: left - 7, y: y(t) + 4, "text-anchor": "end"}));
  svg.append(text(cost, {x: (left + width) / 2, y: height - 8, "text-anchor": "middle"}),
    text(quality, {transform: `translate(14 ${(height - bottom) / 2}) rotate(-90)`,
      "text-anchor": "middle"}));
  svg.append(draw("path", {d: on.map((i, k) =>
    `${k ? "L" : "M"}${x(xs[i])} ${y(ys[i])}`).join("")}));
  const isOn = new Set(on);
  points.forEach((point, i) => svg.append(draw("circle",
    {cx: x(point[0]), cy: y(point[1]), r: isOn.has(i) ? 5 : 3.5, class: isOn.has(i) ? "on" : ""},
    draw("title", {}, names[i]))));
  const labels = draw("g", {class: "labels"});
  on.forEach((i, k) => labels.append(text(k + 1,
    {x: x(xs[i]), y: y(ys[i]) - 9, "text-anchor": "middle"})));
  svg.append(labels);
  return svg;
}

for (const section of document.querySelectorAll("section.ranked")) {
  const table = section.querySelector("table.sortable");
  const rows = [...table.tBodies[0].rows];
  const columns = [...table.querySelectorAll(".names th")].map((heading, index) =>
    ({index, title: heading.dataset.title, better: Number(heading.dataset.better || 0),
      isCost: heading.dataset.cost === "True"}));
  const nameOf = row => row.cells[0].textContent;
  const shown = () => rows.filter(row => !row.classList.contains("out"));
  const parts = [];
  const update = () => parts.forEach(part => part());

  // Filters.
  const search = make("input", {type: "search", placeholder: "resnet20 smooth -mcdo"});
  search.addEventListener("input", update);
  const whole = make("input", {type: "checkbox"});
  whole.addEventListener("change", update);
  const [passes, passesLabel] = menuOf("Passes",
    [["", "all"], ["most", "the most of each model"], ["1", "1"]], update);
  const count = make("output");
  section.querySelector(".filters").append(
    make("label", {}, "Words of the name: ", search), passesLabel,
    make("label", {}, whole, " lacking nothing"), count);
  parts.push(() => {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const known = rows.map(row => nameOf(row).toLowerCase());
    rows.forEach((row, i) => {
      const fits = word => word[0] === "-" ?
        word.length < 2 || !known[i].includes(word.slice(1)) : known[i].includes(word);
      const isIn = words.every(fits) && (!whole.checked || "whole" in row.dataset) &&
        (passes.value !== "most" || "most" in row.dataset) &&
        (passes.value !== "1" || row.dataset.passes === "1");
      row.classList.toggle("out", !isIn);
    });
    const odd = words.find(word => word[0] !== "-" && !known.some(n => n.includes(word)));
    count.textContent = odd ? `No model here has “${odd}” in its name.` :
      `${shown().length} of ${rows.length} lines`;
  });

  // Pareto fronts.
  const place = section.querySelector(".fronts");
  const qualities = columns.filter(column => column.better && !column.isCost);
  if (place && qualities.length) {
    const costs = columns.filter(column => column.isCost);
    const entries = list => list.map(column => [column.index, column.title]);
    const [quality, qualityLabel] = menuOf("Quality", entries(qualities), update);
    const [cost, costLabel] = menuOf("Cost", entries(costs), update);
    const chart = make("div"), list = make("ol");
    place.replaceChildren(
      make("div", {className: "menus"}, qualityLabel, costLabel), chart, list);
    const numberOf = (row, column) => {
      const cell = row.cells[column.index];
      return cell.classList.contains("apart") ? NaN : Number.parseFloat(cell.textContent);
    };
    parts.push(() => {
      const [q, c] = [quality, cost].map(menu => columns[menu.value]);
      const of = row => [numberOf(row, c), numberOf(row, q)];
      const known = shown().filter(row => !of(row).some(Number.isNaN));
      const points = known.map(of);
      const on = frontOf(points.map(([x, y]) => [-c.better * x, -q.better * y]));
      const names = known.map((row, i) => {
        const passes = row.dataset.passes;
        const paid = c === columns[1] ? "" : `, ${c.title} ${points[i][0]}`;
        return `${nameOf(row)} at ${passes} pass${passes > 1 ? "es" : ""}${paid}: ` +
          `${q.title} ${points[i][1]}`;
      });
      rows.forEach(row => row.classList.remove("front-line"));
      on.forEach(i => known[i].classList.add("front-line"));
      list.replaceChildren(...on.map(i => make("li", {}, names[i])));
      chart.replaceChildren(...(points.length ?
        [chartOf(points, names, on, c.title, q.title)] :
        [make("p", {}, "No line that is shown has both.")]));
    });
  }

  // Single data sets.
  const details = section.querySelector("details.sets");
  if (details) {
    let data, menu, box;
    const cellOf = (line, metric, set) => {
      const digits = data.metrics[metric].digits;
      const written = source => {
        const found = source?.[metric][set];
        return found == null ? "" : (found / 10 ** digits).toFixed(digits);
      };
      const [mean, spread] = [data.means[line], data.deviations[line]].map(written);
      return mean === "" ? "-" : spread === "" ? mean : `${mean} ± ${spread}`;
    };
    const fill = () => {
      if (!data || !details.open) return;
      const set = Number(menu.value);
      const head = make("tr", {className: "names"},
        make("th", {scope: "col", className: "first word"}, "Model"),
        make("th", {scope: "col"}, "Passes"),
        ...data.metrics.map(metric => make("th", {scope: "col"}, metric.heading)));
      const body = make("tbody");
      for (const row of shown()) {
        const line = row.dataset.line;
        if (!data.means[line]) continue;
        const cells = data.metrics.map((_, metric) => cellOf(line, metric, set));
        if (cells.every(cell => cell === "-")) continue;
        body.append(make("tr", {},
          make("th", {scope: "row", className: "first word"}, nameOf(row)),
          make("td", {}, row.dataset.passes), ...cells.map(cell => make("td", {}, cell))));
      }
      const single = make("table", {className: "sortable"}, make("thead", {}, head), body);
      makeSortable(single);
      box.replaceChildren(single);
    };
    details.addEventListener("toggle", () => {
      if (!details.open) return;
      if (!data) {
        data = JSON.parse(section.querySelector("script[type='application/json']").textContent);
        const [select, label] = menuOf("Data set", data.sets.map((name, i) => [i, name]), fill);
        menu = select;
        box = make("div", {className: "scroll", tabIndex: 0});
        box.setAttribute("role", "region");
        box.setAttribute("aria-label", "Results on one data set");
        details.querySelector(".without").replaceWith(
          make("p", {}, "Of the most passes of each model."),
          make("div", {className: "menus"}, label), box);
      }
      fill();
    });
    parts.push(fill);
  }
  update();
}
