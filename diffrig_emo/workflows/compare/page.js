"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const BY_GAP = "gap"; // faces on which two systems differ most
const get = (id) => document.getElementById(id);

// A face's figure, or NaN where it was not measured.
function value(face, system, metric) {
  const found = (face.figures[system] || {})[metric];
  return found === undefined ? NaN : found;
}

// What faces are sorted by: larger is better; of two systems, how much better the second is.
function key(face, system, metric) {
  const sign = metric.higher ? 1 : -1;
  if (!system.startsWith(BY_GAP)) return sign * value(face, data.systems[Number(system)], metric.name);
  const [first, second] = system.split(" ").slice(1).map((i) => value(face, data.systems[Number(i)], metric.name));
  return sign * (second - first);
}

// Faces in the order asked for; those without the figure come last, equal ones stay as they were.
function sorted(faces, system, metric, order) {
  if (order === "given") return [...faces];
  const sign = order === "best" ? -1 : 1;
  const rank = (face) => {
    const k = key(face, system, metric);
    return Number.isNaN(k) ? Infinity : sign * k;
  };
  return faces.map((face) => [rank(face), face]).sort(([a], [b]) => (a === b ? 0 : a - b)).map(([, face]) => face);
}

function figure(uri, alt, caption, number) {
  const element = document.createElement("figure");
  const image = document.createElement("img");
  image.src = uri;
  image.alt = alt;
  image.loading = "lazy";
  const text = document.createElement("figcaption");
  text.append(caption);
  if (number !== undefined) {
    const bold = document.createElement("b");
    bold.textContent = number;
    text.append(" ", bold);
  }
  element.append(image, text);
  return element;
}

function row(className, figures) {
  const element = document.createElement("div");
  element.className = `row ${className}`;
  element.append(...figures);
  return element;
}

function card(face, metric) {
  const element = document.createElement("article");
  element.className = "face";
  element.dataset.name = face.name;
  const title = document.createElement("h3");
  title.textContent = `${face.name}, with the expression of ${face.goal}`;
  const sources = Object.entries(face.sources).map(([name, uri]) => figure(uri, `${name} of ${face.name}`, name));
  const painted = (what) => data.systems.map((system) => {
    const number = value(face, system, metric.name);
    const own = metric.name.startsWith("reconstruction") || metric.name === "landmark_error" ? "reconstruction" : "edit";
    const shown = own === what && !Number.isNaN(number) ? number.toFixed(metric.digits) : undefined;
    return figure(face.systems[system][what], `${what} of ${face.name} by ${system}`, `${system}, ${what}`, shown);
  });
  element.append(title, row("edits", [...sources, ...painted("edit")]));
  if (get("reconstructions").checked) element.append(row("reconstructions", painted("reconstruction")));
  return element;
}

function show() {
  const metric = data.metrics[Number(get("metric").value)];
  const faces = sorted(data.faces, get("system").value, metric, get("order").value);
  get("gallery").replaceChildren(...faces.map((face) => card(face, metric)));
  get("said").textContent = `${faces.length} faces. Under each system's picture: ${metric.label}.`;
}

function option(text, value) {
  const element = document.createElement("option");
  element.textContent = text;
  element.value = value;
  return element;
}

get("metric").append(...data.metrics.map((metric, i) => option(metric.label, i)));
get("system").append(...data.systems.map((system, i) => option(system, i)));
data.systems.forEach((first, i) => data.systems.slice(i + 1).forEach((second, j) => {
  get("system").append(option(`${second} minus ${first}, the gain`, `${BY_GAP} ${i} ${i + 1 + j}`));
}));
const preferred = ["edit_true_psnr", "expression_error"].map((name) => data.metrics.findIndex((m) => m.name === name));
get("metric").value = Math.max(0, ...preferred.filter((i) => i >= 0).slice(0, 1));
get("controls").addEventListener("change", show);
get("controls").addEventListener("submit", (event) => event.preventDefault());
show();
