// What is shown, and what the reader does.
const state = { rollout: 0, token: null, held: null, quadrants: new Set(), onlyKept: false, onlyWrong: false, query: '', none: false, dim: new Uint8Array(0) };
let waiting = null;

// At most once a frame, however fast a slider moves.
function later(work) {
  if (waiting) return;
  waiting = requestAnimationFrame(() => { waiting = null; work(); });
}

function paint() {
  state.dim = dimmed();
  paintText();
  paintLegend();
  drawScatter();
}

function go(r) {
  if (r < 0 || r >= H.rollouts.length) return;
  Object.assign(state, { rollout: r, token: null, held: null });
  plot.box = null;
  showRollout();
  unfoldHits();
  paintTitle();
  paintList();
  paint();
  describe(null);
  H.rollouts[r].button.scrollIntoView({ block: 'nearest' });
}

// The next rollout that fits the filters, in a direction.
function step(by) {
  for (let r = state.rollout + by; r >= 0 && r < H.rollouts.length; r += by) if (fits(H.rollouts[r])) return go(r);
}

function look(i, scroll = false) {
  if (state.held !== null || i === state.token) return;
  mark(state.token, false);
  state.token = i;
  mark(i, true);
  describe(i);
  later(drawScatter);
  if (scroll && i !== null) reveal(i - H.rollouts[state.rollout].start);
}

function hold(i, scroll = false) {
  const again = state.held === i;
  state.held = null;
  look(i, scroll);
  state.held = again ? null : i;
  describe(i);
}

function walk(by) {
  if (state.none) return;
  const { start, length } = H.rollouts[state.rollout];
  const next = state.token === null ? (by > 0 ? start : start + length - 1) : state.token + by;
  if (next < start || next >= start + length) return;
  state.held = null;
  look(next);
  focusToken(next);
}

function toggle(q) {
  if (state.quadrants.has(q)) state.quadrants.delete(q); else state.quadrants.add(q);
  paint();
}

function refilter() {
  state.onlyKept = $('only-kept').checked;
  state.onlyWrong = $('only-wrong').checked;
  state.query = $('search').value.trim().toLowerCase();
  const first = H.rollouts.findIndex(fits);
  state.none = first < 0;
  document.body.classList.toggle('nothing', state.none);
  $('none').hidden = !state.none;
  if (state.none) {
    state.held = null;
    look(null);
  } else if (!fits(H.rollouts[state.rollout])) {
    return go(first);
  }
  paintList();
  paint();
  unfoldHits();
  if (state.query && !state.none) reveal(hits(H.rollouts[state.rollout], state.query).indexOf(1));
}

function clear() {
  plot.box = null;
  state.quadrants.clear();
  for (const id of ['only-kept', 'only-wrong']) $(id).checked = false;
  $('search').value = '';
  state.held = null;
  look(null);
  refilter();
}

function theme(dark) {
  document.documentElement.dataset.theme = dark ? 'dark' : 'light';
  plot.behind = everything();
  drawScatter();
}

const press = (id) => { if ($(id).closest('[hidden]')) return; $(id).checked = !$(id).checked; refilter(); };
const switchTheme = () => theme(document.documentElement.dataset.theme !== 'dark');
const KEYS = {
  j: () => step(1), k: () => step(-1), ArrowRight: () => walk(1), ArrowLeft: () => walk(-1), x: () => press('only-kept'),
  w: () => press('only-wrong'), t: switchTheme, o: foldAll, '/': () => $('search').focus(), Escape: clear,
  1: () => toggle(1), 2: () => toggle(2), 3: () => toggle(3), 4: () => toggle(4),
  Enter: () => { if (state.token !== null) hold(state.token); },
};

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || !KEYS[event.key]) return;
  const typing = event.target.matches('input[type=search]');
  const sliding = event.target.matches('input[type=range]') && event.key.startsWith('Arrow');
  const pressing = event.target.matches('button, summary') && event.key === 'Enter';
  if ((typing && event.key !== 'Escape') || sliding || pressing) return;
  event.preventDefault();
  if (typing) event.target.blur();
  KEYS[event.key]();
}

function listen() {
  listenToText();
  listenToFolds();
  listenToScatter();
  for (const axis of ['entropy', 'divergence']) {
    $(axis).addEventListener('input', () => { setCut(axis, Number($(axis).value)); later(recolour); });
  }
  for (const id of ['only-kept', 'only-wrong', 'search']) $(id).addEventListener('input', refilter);
  $('reset').addEventListener('click', resetCuts);
  $('previous').addEventListener('click', () => step(-1));
  $('next').addEventListener('click', () => step(1));
  $('theme').addEventListener('click', switchTheme);
  document.addEventListener('keydown', onKey);
  window.addEventListener('resize', () => later(() => { measure(); drawScatter(); }));
}

function recolour() {
  paint();
  paintBars();
  describe(state.token);
}

function resetCuts() {
  for (const axis of ['entropy', 'divergence']) {
    $(axis).value = H.quantiles[axis];
    setCut(axis, H.quantiles[axis]);
  }
  recolour();
}

async function start() {
  await read();
  $('where').textContent = `${H.run} · step ${H.step} · ${H.rules.join(', ')} · ${H.tokens.toLocaleString('en')} tokens sampled in the step`;
  buildList();
  buildLegend();
  buildComparison();
  document.documentElement.dataset.theme = matchMedia('(prefers-color-scheme: dark)').matches ? 'dark' : 'light';
  for (const axis of ['entropy', 'divergence']) {
    $(axis).value = H.quantiles[axis];
    setCut(axis, H.quantiles[axis]);
  }
  measure();
  listen();
  go(0);
  paintBars();
  document.documentElement.dataset.ready = 'true';
}

start();
