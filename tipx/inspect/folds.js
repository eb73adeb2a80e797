// Long parts that are not the student's: their first tokens, and a button for the rest.
const LONG = 60; // tokens; what is no longer is shown whole
const HEAD = 40; // of what is longer, always in sight
// One for each long part of the rollout: the tokens [from, to) that it hides, and where, once for each rule.
let folds = [];

const inside = ({ from, to }, i) => i !== null && i >= H.rollouts[state.rollout].start + from && i < H.rollouts[state.rollout].start + to;

// The words of a part that begins at `first`.
function folded(first, spans) {
  if (spans.length <= LONG) return spans;
  const [rest, button] = [make('span', 'rest', null, ...spans.slice(HEAD)), make('button', 'fold')];
  let fold = folds.find(({ from }) => from === first + HEAD);
  if (!fold) folds.push(fold = { from: first + HEAD, to: first + spans.length, places: [] });
  fold.places.push({ rest, button });
  button.title = 'All at once (o)';
  button.addEventListener('click', () => {
    setFold(fold, !fold.open);
    (fold.open ? rest.firstChild : button).scrollIntoView({ block: 'nearest' });
  });
  rest.addEventListener('beforematch', () => setFold(fold, true)); // the browser's own search
  setFold(fold, false);
  return [...spans.slice(0, HEAD), rest, button];
}

// `searched`: the search opened it, and closes it when it finds nothing more in it.
function setFold(fold, open, searched = false) {
  Object.assign(fold, { open, searched });
  for (const { rest, button } of fold.places) {
    rest.hidden = open ? false : 'until-found';
    button.textContent = open ? 'fold' : `… ${(fold.to - fold.from).toLocaleString('en')} more tokens`;
    button.setAttribute('aria-expanded', String(open));
  }
  if (!open) leave(fold);
}

// Neither the current token nor the one that the tab key reaches is out of sight: the last before it takes its place.
function leave(fold) {
  const last = H.rollouts[state.rollout].start + fold.from - 1;
  if (inside(fold, state.token)) {
    state.held = null;
    look(last);
  }
  const tabbed = $('columns').querySelector('[data-i][tabindex]');
  if (!tabbed || !inside(fold, Number(tabbed.dataset.i))) return;
  const focused = document.activeElement === tabbed;
  const span = reach(last);
  if (focused) span.focus({ preventScroll: true });
}

function unfold(k) {
  const fold = folds.find(({ from, to }) => k >= from && k < to);
  if (fold && !fold.open) setFold(fold, true);
}

function unfoldHits() {
  const found = state.query && !state.none ? hits(H.rollouts[state.rollout], state.query) : new Uint8Array(0);
  for (const fold of folds) {
    const hit = found.subarray(fold.from, fold.to).includes(1);
    if (hit ? !fold.open : fold.searched) setFold(fold, hit || inside(fold, state.token), hit);
  }
}

function foldAll() {
  const open = !folds.every((fold) => fold.open);
  for (const fold of folds) setFold(fold, open);
  if (state.token !== null) reveal(state.token - H.rollouts[state.rollout].start);
}

// A selection opens what it goes across: what is copied is what is seen, and all of it.
function listenToFolds() {
  document.addEventListener('copy', () => {
    const chosen = getSelection();
    if (chosen.isCollapsed) return;
    for (const fold of folds) if (fold.places.some(({ rest }) => chosen.containsNode(rest, true))) setFold(fold, true);
  });
}
