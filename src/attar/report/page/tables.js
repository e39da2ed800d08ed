"use strict";
/* Tables: sorting by their headings, accuracies and confusions by class, and the frames of unfinished runs. */

(() => {
  const heading = (text, scope, className) => {
    const cell = create("th", text, className);
    cell.scope = scope;
    return cell;
  };
  const line = (...cells) => {
    const row = document.createElement("tr");
    row.append(...cells);
    return row;
  };
  const part = (tag, ...lines) => {
    const element = document.createElement(tag);
    element.append(...lines);
    return element;
  };

  const worth = (row, column) => {
    const cell = row.cells[column];
    const text = cell.dataset.value ?? cell.textContent.trim();
    return text === "" ? null : isNaN(text) ? text : Number(text);
  };
  const compare = (one, other) =>
    typeof one === "number" && typeof other === "number" ? one - other : String(one).localeCompare(String(other));
  const sort = (head) => {
    const direction = head.getAttribute("aria-sort") === "descending" ? "ascending" : "descending";
    head.parentElement.querySelectorAll("th").forEach((other) => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", direction);
    const body = head.closest("table").tBodies[0];
    const keyed = [...body.rows].map((row) => [worth(row, head.cellIndex), row]);
    keyed.sort(([one], [other]) => {
      if (one === null || other === null) return (one === null) - (other === null); // what is missing stays below
      return direction === "ascending" ? compare(one, other) : compare(other, one);
    });
    body.append(...keyed.map(([, row]) => row));
  };
  document.querySelectorAll(".sortable th button").forEach((button) =>
    button.addEventListener("click", () => sort(button.closest("th"))));

  const rows = fromPage("rows");
  const percent = (value) => (value === null ? "n/a" : `${value.toFixed(1)} %`);
  const bar = (value) => {
    const cell = document.createElement("td");
    const meter = create("span", "", "meter");
    const filled = document.createElement("span");
    filled.style.width = `${value ?? 0}%`;
    meter.append(filled);
    cell.append(meter, percent(value));
    return cell;
  };
  const inOrder = (numbers, values, by) => numbers.sort((one, other) => {
    if (values[one] === null || values[other] === null) return (values[one] === null) - (values[other] === null);
    return by * (values[one] - values[other]);
  });
  const showBars = () => {
    const first = rows[byId("row-a").value];
    const beside = byId("row-b").value;
    const second = beside === "" ? null : rows[beside];
    const order = [...first.titles.keys()];
    const by = { worst: 1, best: -1 }[byId("order").value];
    if (by) inOrder(order, first.classes, by);
    const places = new Map(second?.names.map((name, place) => [name, place])); // titles may come twice
    const head = line(heading("Class", "col"), heading(first.name, "col"));
    if (second) head.append(heading(second.name, "col"), heading("Difference", "col", "right"));
    const lines = order.map((number) => {
      const own = first.classes[number];
      const row = line(heading(first.titles[number], "row"), bar(own));
      if (second) {
        const other = second.classes[places.get(first.names[number])] ?? null;
        const gap = own === null || other === null ? "n/a" : `${own - other > 0 ? "+" : ""}${(own - other).toFixed(1)}`;
        row.append(bar(other), create("td", gap, "right"));
      }
      return row;
    });
    byId("bars").replaceChildren(part("thead", head), part("tbody", ...lines));
  };
  const showConfusion = () => {
    const { matrix, worst, titles, name } = rows[byId("row-a").value];
    const table = byId("confusion");
    table.className = matrix ? "heat" : "";
    const caption = create("caption", matrix
      ? `${name}: percent of each class's answers; a line a true class, a column what it is taken for`
      : `${name}: the ${worst.length} pairs of classes that are mistaken most`);
    if (!matrix) {
      const head = line(heading("True class", "col"), heading("Taken for", "col"), heading("Of its answers", "col", "right"));
      const lines = worst.map(([own, taken, share, count]) =>
        line(heading(own, "row"), create("td", taken), create("td", `${share.toFixed(1)} % (${count})`, "right")));
      table.replaceChildren(caption, part("thead", head), part("tbody", ...lines));
      return;
    }
    const head = line(create("td", ""), ...titles.map((title) => heading(title, "col")));
    const lines = matrix.map((counts, number) => {
      const all = counts.reduce((sum, count) => sum + count, 0) || 1;
      return line(heading(titles[number], "row"), ...counts.map((count) => {
        const share = count / all;
        const cell = create("td", share ? (100 * share).toFixed(0) : "", share > 0.6 ? "deep" : "");
        cell.style.setProperty("--share", share > 0.6 ? 1 : 0.6 * share);
        return cell;
      }));
    });
    table.replaceChildren(caption, part("thead", head), part("tbody", ...lines));
  };
  if (rows.length) {
    byId("row-a").addEventListener("change", () => { showBars(); showConfusion(); });
    byId("row-b").addEventListener("change", showBars);
    byId("order").addEventListener("change", showBars);
    showBars();
    showConfusion();
  }

  const runs = fromPage("sheets");
  document.querySelectorAll(".journey[data-run]").forEach((box) => {
    const { steps, sheets } = runs[box.dataset.run];
    const slider = box.querySelector("input");
    const show = () => {
      const words = `after step ${steps[slider.value]}, frame ${Number(slider.value) + 1} of ${steps.length}`;
      box.querySelector("img").src = picture(sheets[slider.value]);
      box.querySelector("output").textContent = words;
      slider.setAttribute("aria-valuetext", words);
    };
    slider.addEventListener("input", show);
    show();
  });
})();
