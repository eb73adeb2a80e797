// The text of one rollout, once for each rule. Only the current rollout is in the document.
const columns = [];

function showRollout() {
  const { start, length, prompt, turns: parts } = H.rollouts[state.rollout];
  $('prompt').textContent = visible(prompt).replaceAll('↵\n', '\n');
  columns.length = 0;
  folds = [];
  const boxes = H.rules.map((name, rule) => {
    const spans = new Array(length);
    const text = make('div', 'text');
    for (let k = 0; k < length; k++) {
      const span = document.createElement('span');
      span.textContent = visible(H.texts[C.piece[start + k]]);
      span.dataset.i = start + k;
      spans[k] = span;
    }
    text.append(...(parts.length > 1 ? parts.map(([from, to]) => block(C.valid[start + from], from, spans.slice(from, to))) : spans));
    columns.push({ rule, spans, classes: new Array(length).fill('') });
    return make('div', 'column', null, ...(H.rules.length > 1 ? [make('h3', '', name)] : []), text);
  });
  $('columns').replaceChildren(...boxes);
  $('folding').hidden = !folds.length;
  $('reader').scrollTop = 0;
  if (length) columns[0].spans[0].tabIndex = 0;
}

// A turn of the student's, or what stands between two, and who said it.
function block(own, first, spans) {
  const words = make('div', 'words', null, ...(own ? spans : folded(first, spans)));
  return make('div', `turn ${own ? 'own' : 'heard'}`, null, make('div', 'who', own ? 'student' : 'environment'), words);
}

// Which tokens the filters and the brush leave out.
function dimmed() {
  const { start, length } = H.rollouts[state.rollout];
  const mask = new Uint8Array(length);
  for (let k = 0; k < length; k++) {
    const i = start + k;
    const q = quadrant(i);
    mask[k] = (state.quadrants.size && !state.quadrants.has(q)) || (state.onlyKept && !keptBySome(i)) || (plot.box && (!q || !inBox(i))) ? 1 : 0;
  }
  return mask;
}

function paintText() {
  const rollout = H.rollouts[state.rollout];
  const found = state.query ? hits(rollout, state.query) : null;
  for (const { rule, spans, classes } of columns) {
    for (let k = 0; k < spans.length; k++) {
      const i = rollout.start + k;
      let name = 't';
      if (!C.valid[i]) name = 't tool';
      else {
        name += ` q${quadrant(i)}`;
        if (kept(i, rule)) name += H.rules.length > 1 && keptOnlyBy(i, rule) ? ' kept only' : ' kept';
      }
      if (found && found[k]) name += ' hit';
      if (state.dim[k]) name += ' dim';
      if (i === state.token) name += ' on';
      if (classes[k] !== name) spans[k].className = classes[k] = name;
    }
  }
}

function mark(i, on) {
  if (i === null) return;
  const k = i - H.rollouts[state.rollout].start;
  for (const { spans, classes } of columns) {
    if (!spans[k]) continue;
    spans[k].classList.toggle('on', on);
    classes[k] = spans[k].className;
  }
}

function reveal(k) {
  if (k < 0 || !columns[0].spans[k]) return;
  unfold(k);
  columns[0].spans[k].scrollIntoView({ block: 'nearest' });
}

// One token at a time can be reached by the tab key; arrows walk.
function reach(i) {
  for (const span of $('columns').querySelectorAll('[tabindex]')) span.removeAttribute('tabindex');
  const span = columns[0].spans[i - H.rollouts[state.rollout].start];
  span.tabIndex = 0;
  return span;
}

function focusToken(i) {
  reveal(i - H.rollouts[state.rollout].start);
  reach(i).focus({ preventScroll: true });
}

function listenToText() {
  const token = (event) => (event.target.dataset && event.target.dataset.i !== undefined ? Number(event.target.dataset.i) : null);
  const box = $('columns');
  box.addEventListener('pointerover', (event) => { if (token(event) !== null) look(token(event)); });
  box.addEventListener('focusin', (event) => { if (token(event) !== null) look(token(event)); });
  box.addEventListener('click', (event) => { if (token(event) !== null) hold(token(event)); });
}
