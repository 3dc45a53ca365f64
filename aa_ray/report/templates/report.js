// Draws the learning curves of a task when its section is opened, from the JSON inside the page.
"use strict";
{
  const SVG = "http://www.w3.org/2000/svg";
  const curves = JSON.parse(document.getElementById("curves").textContent);
  // Of one chart: width, left margin, and the two panels' top and bottom.
  const WIDTH = 260, LEFT = 34, RIGHT = 254, METRIC = [8, 96], LOSS = [112, 152], HEIGHT = 176;

  const make = (name, attributes, text) => {
    const element = document.createElementNS(SVG, name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    if (text !== undefined) element.textContent = text;
    return element;
  };
  const html = (name, text) => {
    const element = document.createElement(name);
    element.textContent = text;
    return element;
  };
  const range = (values) => {
    const known = values.filter(Number.isFinite);
    const low = Math.min(...known), high = Math.max(...known);
    return low < high ? [low, high] : [low - 1, high + 1];
  };
  const short = (value) => Math.abs(value) >= 10 ? value.toFixed(0) : value.toPrecision(2);
  const seriesOf = (seeds, seed) => `s${seeds.indexOf(seed) % 7}`;

  // One panel: axis, the range's ends, and a line per run.
  function panel(svg, runs, kind, [top, bottom], [low, high], seeds) {
    const last = Math.max(2, ...runs.map((run) => run[kind].length));
    const x = (epoch) => LEFT + (RIGHT - LEFT) * (epoch - 1) / (last - 1);
    const y = (value) => bottom - (bottom - top) * (value - low) / (high - low);
    svg.append(make("line", { class: "axis", x1: LEFT, x2: RIGHT, y1: bottom, y2: bottom }));
    svg.append(make("line", { class: "axis", x1: LEFT, x2: LEFT, y1: top, y2: bottom }));
    for (const value of [low, high])
      svg.append(make("text", { x: LEFT - 4, y: y(value) + 3, "text-anchor": "end" }, short(value)));
    for (const run of runs) {
      const group = make("g", { class: seriesOf(seeds, run.seed) });
      const points = run[kind].map((value, i) => [x(i + 1), y(value)]).filter((p) => p.every(Number.isFinite));
      const places = points.map((p) => p.map((n) => n.toFixed(1)).join(",")).join(" ");
      const line = make("polyline", { class: kind, points: places });
      line.append(make("title", {}, `seed ${run.seed}`));
      group.append(line);
      if (kind === "metric" && Number.isFinite(run.metric[run.best - 1])) {
        const dot = make("circle", { cx: x(run.best), cy: y(run.metric[run.best - 1]), r: 3 });
        dot.append(make("title", {}, `seed ${run.seed}, best epoch ${run.best}: ${run.metric[run.best - 1]}`));
        group.append(dot);
      }
      svg.append(group);
    }
    return x;
  }

  function chart(architecture, ranges, seeds) {
    const box = document.createElement("div");
    const title = html("h3", "");
    for (const [i, name] of architecture.title.split(", ").entries()) {
      const [head, mark] = name.split("^");
      title.append(i ? ", " : "", head);
      if (mark !== undefined) title.append(html("sup", mark));
    }
    const runs = architecture.runs;
    const label = `Learning curves of ${architecture.title}: development metric and training loss by epoch`;
    const svg = make("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": label });
    const x = panel(svg, runs, "metric", METRIC, ranges.metric, seeds);
    panel(svg, runs, "loss", LOSS, ranges.loss, seeds);
    const epochs = Math.max(...runs.map((run) => run.metric.length));
    for (const epoch of new Set([1, epochs]))
      svg.append(make("text", { x: x(epoch), y: LOSS[1] + 12, "text-anchor": "middle" }, epoch));
    svg.append(make("text", { x: (LEFT + RIGHT) / 2, y: LOSS[1] + 12, "text-anchor": "middle" }, "epoch"));
    box.append(title, svg);
    return box;
  }

  function draw(group) {
    const place = group.querySelector(".charts");
    if (place.childElementCount) return;
    const architectures = curves[group.dataset.key];
    const runs = architectures.flatMap((architecture) => architecture.runs);
    const seeds = [...new Set(runs.map((run) => run.seed))];
    const ranges = {
      metric: range(runs.flatMap((run) => run.metric)),
      loss: range(runs.flatMap((run) => run.loss)),
    };
    const legend = html("div", "");
    legend.className = "legend";
    for (const seed of seeds) {
      const entry = html("span", "");
      const line = document.createElement("i");
      line.className = seriesOf(seeds, seed);
      entry.append(line, `seed ${seed}`);
      legend.append(entry);
    }
    legend.append(html("span", `Above: ${group.dataset.metric} x 100 on the development set, dot: best epoch. Below, dashed: training loss.`));
    place.append(legend, ...architectures.map((architecture) => chart(architecture, ranges, seeds)));
  }

  for (const group of document.querySelectorAll("details.group")) {
    group.addEventListener("toggle", () => { if (group.open) draw(group); });
    if (group.open) draw(group);
  }
}
