"use strict";
// Sorting and filtering. Without this every row is there, in the order of the CSV.

const SIZES = {k: 1e3, M: 1e6, G: 1e9, T: 1e12};
const TESTS = {
  "<=": (a, b) => a <= b, ">=": (a, b) => a >= b, "!=": (a, b) => a !== b, "=": (a, b) => a === b,
  "==": (a, b) => a === b, "<": (a, b) => a < b, ">": (a, b) => a > b,
};
const valueOf = cell => cell.dataset.v ?? cell.textContent;
const numberOf = text => /^[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?( %)?$/i.test(text) ? parseFloat(text) : NaN;

function compare(a, b) {
  const x = numberOf(a), y = numberOf(b);
  return Number.isNaN(x) || Number.isNaN(y) ? a.localeCompare(b) : x - y;
}

function sortBy(table, head) {
  const place = [...head.parentNode.children].indexOf(head);
  const falling = head.getAttribute("aria-sort") === "ascending";
  for (const other of head.parentNode.children) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", falling ? "descending" : "ascending");
  const body = table.tBodies[0];
  const rows = [...body.rows].map(row => [valueOf(row.cells[place]), row]);
  rows.sort(([a], [b]) => a === "" || b === "" ? (a === "") - (b === "") : falling ? compare(b, a) : compare(a, b));
  body.append(...rows.map(([, row]) => row));
}

for (const table of document.querySelectorAll("table.sortable")) {
  for (const head of table.tHead.rows[0].cells) {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    button.addEventListener("click", () => sortBy(table, head));
    head.append(button);
  }
}

const table = document.getElementById("table-points");
const form = document.getElementById("filters");
const text = document.getElementById("filter-text");
const names = [...table.tHead.rows[0].cells].map(head => head.dataset.name);
const lists = new Set([...table.tHead.rows[0].cells].filter(head => "list" in head.dataset).map(head => head.dataset.name));
const total = table.tBodies[0].rows.length;

// Words and conditions; a condition in quotes, closed or not yet, may hold spaces, as that of a whole list does.
const wordsOf = typed => [...typed.matchAll(/(["'])(.*?)(?:\1|$)|\S+/g)].map(found => found[2] ?? found[0]).filter(Boolean);

const has = (row, word) => row.textContent.toLowerCase().includes(word.toLowerCase());

// Whether a word is what is typed of a condition up to its sign, `laten` or `latency_ms!`, and stands in no row.
const begins = word => names.some(name => name.startsWith(word) || `${name}!` === word)
  && ![...table.tBodies[0].rows].some(row => has(row, word));

// What a word asks of a row, as `hvt-bench table --where` does; null where it is a condition on a column that is not in the table.
function test(word) {
  const found = /^(\w+)(<=|>=|!=|==|=|<|>)(.*)$/.exec(word);
  if (!found) return begins(word) ? () => true : row => has(row, word);
  const [, name, sign, wanted] = found, place = names.indexOf(name);
  if (place < 0) return null;
  if (wanted === "" && /[<>]/.test(sign)) return () => true;
  if (wanted === "") return row => TESTS[sign](valueOf(row.cells[place]), "");
  if (lists.has(name)) {
    const items = wanted.trim().split(/\s+/), equal = sign !== "!=";
    return row => {
      const own = valueOf(row.cells[place]);
      if (own === "") return false;
      return (items.length > 1 ? own === items.join(" ") : own.split(" ").includes(items[0])) === equal;
    };
  }
  const scaled = /^(.+)([kMGT])$/.exec(wanted);
  const number = scaled ? numberOf(scaled[1]) * SIZES[scaled[2]] : numberOf(wanted);
  return row => {
    const value = valueOf(row.cells[place]);
    if (value === "") return false;
    const own = numberOf(value);
    return Number.isNaN(own) || Number.isNaN(number) ? TESTS[sign](value, wanted) : TESTS[sign](own, number);
  };
}

function filter() {
  const tests = wordsOf(text.value).map(test);
  const known = !tests.includes(null);
  text.setAttribute("aria-invalid", String(!known));
  for (const choice of form.querySelectorAll("select")) {
    const place = names.indexOf(choice.dataset.column);
    if (choice.value) tests.push(row => row.cells[place].textContent === choice.value);
  }
  let shown = 0;
  for (const row of table.tBodies[0].rows) {
    row.hidden = !tests.every(holds => holds === null || holds(row));
    shown += !row.hidden;
  }
  document.getElementById("filter-count").textContent =
    `${shown} of ${total} rows` + (known ? "" : ", one condition names no column of this table");
}

form.addEventListener("input", filter);
form.addEventListener("submit", event => event.preventDefault());
form.addEventListener("reset", () => setTimeout(filter));
addEventListener("beforeprint", () => { for (const more of document.querySelectorAll("details")) more.open = true; });
form.hidden = false;
filter();
