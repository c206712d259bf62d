// SPDX-License-Identifier: Apache-2.0
// The timeline of `mfs trace view`: one canvas, drawn anew at each move. Data: view.py.
"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const canvas = document.getElementById("timeline");
const told = document.getElementById("told");
const more = document.getElementById("more");
const paint = canvas.getContext("2d");
const LANE = 7, HEAD = 15, GAP = 5, AXIS = 18, MOST_LANES = 16, MOST_HEIGHT = 9000;
const [NAME, STAGE, LAYER, PORT, BEGIN, LEFT, END, SIZE, LEVEL, GIVEN_UP, DONE, DUE, LEVELS] =
  Array(13).keys();
let from = 0, to = data.end_us || 1, rows = [], shown = [], width = 0, hits = [];

const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const color = (stage) => data.colors[stage];
const time = (us) => us === null ? "-" : (us / 1e6).toFixed(4) + " s";
const x = (us) => (us - from) / (to - from) * width;
const us = (px) => from + px / width * (to - from);

function pack(flows) { // each in the first lane that is free again
  const free = [];
  for (const flow of flows) {
    let lane = free.findIndex((end) => end <= flow[BEGIN]);
    if (lane < 0) lane = free.length < MOST_LANES ? free.length : MOST_LANES - 1;
    free[lane] = Math.max(flow[END], free[lane] || 0);
    flow.lane = lane;
  }
  return Math.max(1, free.length);
}

function arrange() {
  const by = document.getElementById("by").value;
  const wanted = document.getElementById("filter").value.toLowerCase();
  const groups = new Map();
  for (const flow of data.flows) {
    const title = by === "port" ? data.ports[flow[PORT]] : data.names[flow[NAME]];
    if (wanted && !data.names[flow[NAME]].toLowerCase().includes(wanted)) continue;
    if (!groups.has(title)) groups.set(title, []);
    groups.get(title).push(flow);
  }
  rows = [];
  let y = AXIS;
  for (const [title, flows] of groups) {
    const lanes = pack(flows);
    const due = by === "port" ? null : flows[flows.length - 1][DUE];
    rows.push({title, flows, due, y, lanes});
    y += HEAD + lanes * LANE + GAP;
  }
  shown = rows.filter((row) => row.y < MOST_HEIGHT);
  more.textContent = shown.length < rows.length ?
    `${rows.length - shown.length} more below: narrow them by name` : "";
  canvas.style.height = (shown.length ? Math.min(y, MOST_HEIGHT) : 60) + "px";
  draw();
}

function axis(height) {
  const steps = [1, 2, 5];
  let step = 1;
  for (let i = 0; (to - from) / step > Math.max(3, width / 110); i++) {
    step = steps[i % 3] * 10 ** Math.floor(i / 3);
  }
  paint.fillStyle = css("--mute");
  paint.strokeStyle = css("--line");
  for (let at = Math.ceil(from / step) * step; at <= to; at += step) {
    paint.beginPath();
    paint.moveTo(x(at), AXIS - 4);
    paint.lineTo(x(at), height);
    paint.stroke();
    const words = step >= 1000 ? `${+(at / 1e6).toFixed(3)} s` : `${(at / 1e3).toFixed(3)} ms`;
    paint.fillText(words, Math.min(x(at) + 2, width - 60), 11);
  }
}

function draw() {
  const ratio = window.devicePixelRatio || 1;
  width = canvas.clientWidth;
  const height = parseFloat(canvas.style.height);
  canvas.width = width * ratio;
  canvas.height = height * ratio;
  paint.setTransform(ratio, 0, 0, ratio, 0, 0);
  paint.clearRect(0, 0, width, height);
  paint.font = "11px system-ui, sans-serif";
  axis(height);
  hits = [];
  for (const row of shown) {
    for (const flow of row.flows) bar(flow, row.y + HEAD + flow.lane * LANE);
    paint.fillStyle = css("--ink");
    const late = row.due !== null && row.flows.some((flow) => flow[END] > row.due);
    paint.fillText(row.title + (late ? " (late)" : ""), 2, row.y + 11);
    if (row.due !== null) {
      paint.fillStyle = css("--mark");
      paint.fillRect(x(row.due) - 1, row.y + HEAD - 3, 2, row.lanes * LANE + 4);
    }
  }
}

function bar(flow, y) {
  const [a, b, c] = [x(flow[BEGIN]), x(flow[LEFT]), x(flow[END])];
  if (c < -2 || a > width + 2) return;
  paint.fillStyle = color(flow[STAGE]);
  paint.globalAlpha = 0.45;
  paint.fillRect(a, y, Math.max(1, b - a), LANE - 2);
  paint.globalAlpha = 1;
  paint.fillRect(b, y, Math.max(1, c - b), LANE - 2);
  for (const [at, , words, lost] of flow[LEVELS]) {
    if (!lost && at === flow[BEGIN]) continue;
    paint.fillStyle = lost ? css("--mark") : css("--ink");
    paint.fillRect(x(at) - 1, y - 1, lost ? 3 : 1.5, LANE);
  }
  hits.push([a - 2, y - 1, Math.max(c, a + 3) + 2, y + LANE - 1, flow]);
}

function tell(flow) {
  const due = flow[DUE] === null ? "no deadline" : `due at ${time(flow[DUE])}`;
  const lines = [
    `${data.names[flow[NAME]]}, ${data.stages[flow[STAGE]]}, layer ${flow[LAYER]}, ` +
      `${data.ports[flow[PORT]]}, ${(flow[SIZE] / 1e6).toFixed(2)} MB, ${due}`,
    `waits from ${time(flow[BEGIN])} for ${time(flow[LEFT] - flow[BEGIN])}; ` +
      (flow[DONE] ? `acknowledged ${time(flow[END] - flow[LEFT])} later, at ${time(flow[END])}` :
        "when it was acknowledged is not known"),
    ...flow[LEVELS].map(([at, level, words]) => `${time(at)}: level ${level}, ${data.words[words]}`),
  ];
  told.textContent = lines.join("\n");
}

function look(event) {
  const box = canvas.getBoundingClientRect();
  const [px, py] = [event.clientX - box.left, event.clientY - box.top];
  const hit = hits.find(([a, b, c, d]) => px >= a && px <= c && py >= b && py <= d);
  if (hit) tell(hit[4]);
}

function zoom(factor, middle) {
  const [least, most] = [20, data.end_us * 1.02 || 1];
  const span = Math.min(most, Math.max(least, (to - from) * factor));
  const share = (middle - from) / (to - from);
  from = Math.max(0, Math.min(middle - share * span, most - span));
  to = from + span;
  draw();
}

function pan(by_us) {
  const span = to - from;
  from = Math.max(0, Math.min(from + by_us, Math.max(0, data.end_us * 1.02 - span)));
  to = from + span;
  draw();
}

let held = null;
canvas.addEventListener("pointerdown", (event) => { held = event.clientX; look(event); });
window.addEventListener("pointerup", () => { held = null; });
canvas.addEventListener("pointermove", (event) => {
  if (held === null) return look(event);
  pan((held - event.clientX) / width * (to - from));
  held = event.clientX;
});
canvas.addEventListener("wheel", (event) => {
  const box = canvas.getBoundingClientRect();
  if (event.ctrlKey || event.metaKey) {
    event.preventDefault();
    zoom(event.deltaY > 0 ? 1.25 : 0.8, us(event.clientX - box.left));
  } else if (event.shiftKey || event.deltaX) {
    event.preventDefault();
    pan((event.deltaX || event.deltaY) / width * (to - from));
  }
}, {passive: false});
document.getElementById("in").onclick = () => zoom(0.5, (from + to) / 2);
document.getElementById("out").onclick = () => zoom(2, (from + to) / 2);
document.getElementById("before").onclick = () => pan((from - to) / 3);
document.getElementById("after").onclick = () => pan((to - from) / 3);
document.getElementById("all").onclick = () => { from = 0; to = data.end_us * 1.02 || 1; draw(); };
document.getElementById("by").onchange = arrange;
document.getElementById("filter").oninput = arrange;
window.addEventListener("resize", draw);
window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
to = data.end_us * 1.02 || 1;
arrange();
