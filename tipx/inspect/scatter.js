// Entropy against divergence, on logarithmic axes: unsure is up and wrong is right, as in the legend.
const LEAST = 1e-4; // no axis begins below; what is less lies on its edge
const PAD = { left: 38, right: 8, top: 8, bottom: 30 };
const AXIS = { x: 'reverse_kl', y: 'student_entropy' };
const TABLE = { x: 'quantiles_divergence', y: 'quantiles_entropy' };
const plot = { width: 0, height: 0, ratio: 1, low: {}, high: {}, box: null, behind: null };

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

function place(value, axis) {
  const low = plot.low[axis];
  const part = Math.log(Math.max(value, low) / low) / Math.log(plot.high[axis] / low);
  const bounded = Math.min(Math.max(Number.isNaN(part) ? 0 : part, 0), 1);
  if (axis === 'x') return PAD.left + bounded * (plot.width - PAD.left - PAD.right);
  return plot.height - PAD.bottom - bounded * (plot.height - PAD.top - PAD.bottom);
}

function measure() {
  const canvas = $('scatter');
  plot.ratio = window.devicePixelRatio || 1;
  plot.width = canvas.clientWidth;
  plot.height = canvas.clientHeight;
  canvas.width = plot.width * plot.ratio;
  canvas.height = plot.height * plot.ratio;
  for (const [axis, name] of Object.entries(AXIS)) {
    let most = 1;
    for (const value of C[name]) if (value > most && value < Infinity) most = value;
    plot.high[axis] = most * 1.15;
    // The power of ten below all but the lowest half per cent of the step.
    plot.low[axis] = Math.max(LEAST, 10 ** Math.floor(Math.log10(Math.min(C[TABLE[axis]][5], 0.5)))) || LEAST;
  }
  plot.behind = everything();
}

// All rollouts, faint, drawn once.
function everything() {
  const canvas = document.createElement('canvas');
  canvas.width = plot.width * plot.ratio;
  canvas.height = plot.height * plot.ratio;
  const g = canvas.getContext('2d');
  g.scale(plot.ratio, plot.ratio);
  g.fillStyle = colour('--soft');
  g.globalAlpha = 0.1;
  for (let i = 0; i < C.valid.length; i++) {
    if (C.valid[i]) g.fillRect(place(C.reverse_kl[i], 'x') - 0.5, place(C.student_entropy[i], 'y') - 0.5, 1, 1);
  }
  g.globalAlpha = 1;
  g.font = '10.5px system-ui, sans-serif';
  for (let power = -4; power <= 1; power++) {
    const value = 10 ** power;
    const name = power === -4 ? '10⁻⁴' : String(value);
    const label = (axis) => (value < plot.low[axis] * 1.01 ? `≤ ${name}` : name);
    const fits = (axis) => value > plot.low[axis] * 0.99 && value < plot.high[axis];
    g.textAlign = value < plot.low.x * 1.01 ? 'left' : 'center';
    if (fits('x')) g.fillText(label('x'), place(value, 'x'), plot.height - PAD.bottom + 13);
    g.textAlign = 'right';
    if (fits('y')) g.fillText(name, PAD.left - 5, place(value, 'y') + 3);
  }
  g.textAlign = 'right';
  g.fillText('divergence, nats →', plot.width - PAD.right, plot.height - 3);
  g.save();
  g.translate(9, PAD.top);
  g.rotate(-Math.PI / 2);
  g.fillText('entropy, nats →', 0, 0);
  g.restore();
  return canvas;
}

function drawScatter() {
  const g = $('scatter').getContext('2d');
  const { start, length } = H.rollouts[state.rollout];
  g.setTransform(1, 0, 0, 1, 0, 0);
  g.clearRect(0, 0, plot.width * plot.ratio, plot.height * plot.ratio);
  g.drawImage(plot.behind, 0, 0);
  g.scale(plot.ratio, plot.ratio);
  const paints = [1, 2, 3, 4].map((q) => colour(`--q${q}`));
  const radius = length > 1500 ? 1.6 : length > 300 ? 2.2 : 3.4;
  for (let i = start; i < start + length; i++) {
    const q = quadrant(i);
    if (!q) continue;
    const on = keptBySome(i);
    g.globalAlpha = state.dim[i - start] ? 0.08 : on ? 0.95 : 0.5;
    g.fillStyle = g.strokeStyle = paints[q - 1];
    g.beginPath();
    g.arc(place(C.reverse_kl[i], 'x'), place(C.student_entropy[i], 'y'), radius, 0, 7);
    if (on) g.fill(); else g.stroke();
  }
  g.globalAlpha = 1;
  g.strokeStyle = colour('--ink');
  g.setLineDash([4, 4]);
  const [x, y] = [place(cut.divergence, 'x'), place(cut.entropy, 'y')];
  g.beginPath();
  g.moveTo(x, PAD.top);
  g.lineTo(x, plot.height - PAD.bottom);
  g.moveTo(PAD.left, y);
  g.lineTo(plot.width - PAD.right, y);
  g.stroke();
  if (plot.box) {
    g.fillStyle = colour('--ink');
    g.globalAlpha = 0.07;
    g.fillRect(...plot.box);
    g.globalAlpha = 1;
    g.strokeRect(...plot.box);
  }
  g.setLineDash([]);
  if (state.token !== null && C.valid[state.token]) {
    g.lineWidth = 2;
    g.beginPath();
    g.arc(place(C.reverse_kl[state.token], 'x'), place(C.student_entropy[state.token], 'y'), radius + 3.5, 0, 7);
    g.stroke();
    g.lineWidth = 1;
  }
}

function inBox(i) {
  const [left, top, width, height] = plot.box;
  const [x, y] = [place(C.reverse_kl[i], 'x'), place(C.student_entropy[i], 'y')];
  return x >= left && x <= left + width && y >= top && y <= top + height;
}

function nearest(x, y, within = 9) {
  const { start, length } = H.rollouts[state.rollout];
  let best = null;
  let least = within * within;
  for (let i = start; i < start + length; i++) {
    const distance = (place(C.reverse_kl[i], 'x') - x) ** 2 + (place(C.student_entropy[i], 'y') - y) ** 2;
    if (C.valid[i] && distance < least) [best, least] = [i, distance];
  }
  return best;
}

// Dragging brushes; without a button the nearest token shows.
function listenToScatter() {
  const canvas = $('scatter');
  let from = null;
  const at = (event) => { const box = canvas.getBoundingClientRect(); return [event.clientX - box.left, event.clientY - box.top]; };
  canvas.addEventListener('pointerdown', (event) => { from = at(event); plot.box = null; canvas.setPointerCapture(event.pointerId); });
  canvas.addEventListener('pointermove', (event) => {
    const [x, y] = at(event);
    if (!from) { const found = nearest(x, y); if (found !== null) look(found, true); return; }
    plot.box = [Math.min(x, from[0]), Math.min(y, from[1]), Math.abs(x - from[0]), Math.abs(y - from[1])];
    later(paint);
  });
  canvas.addEventListener('pointerup', (event) => {
    const [x, y] = at(event);
    if (plot.box && plot.box[2] < 4 && plot.box[3] < 4) plot.box = null;
    if (!plot.box) { const found = nearest(x, y); if (found !== null) hold(found, true); }
    from = null;
    paint();
    if (plot.box) reveal(state.dim.indexOf(0));
  });
}
