// The list of rollouts, the legend that filters, and how rules overlap.
const LEGEND = [
  [2, 'unsure, agreeing', 'many ways to go on; the teacher likes them too'],
  [1, 'unsure, wrong', 'the student hesitates, the teacher knows better'],
  [4, 'solved', 'sure, and the teacher agrees: little to learn'],
  [3, 'sure, wrong', 'confident, and the teacher disagrees'],
];
const MARKS = { correct: '✓ correct', wrong: '✗ wrong', no_answer: '✗ no answer', truncated: '✗ cut off', grader_error: '? not graded' };

// How a rollout did, where that is known: an answer by its grade, an agent by its score.
function verdict({ grade, score, answer }) {
  if (grade) {
    const got = grade.extracted !== null ? `, got ${visible(grade.extracted)}` : '';
    const wrong = grade.value === 0 && grade.outcome !== 'grader_error';
    return { name: grade.outcome, mark: MARKS[grade.outcome], more: `: expected ${visible(answer)}${got}`, wrong };
  }
  if (score === null) return null;
  const wrong = score < 1;
  return { name: wrong ? 'wrong' : 'correct', mark: `${wrong ? '✗' : '✓'} score ${Number(score.toFixed(4))}`, more: '', wrong };
}

function fits(rollout) {
  if (state.onlyWrong && !(rollout.verdict && rollout.verdict.wrong)) return false;
  return !state.query || contains(rollout, state.query);
}

function buildList() {
  H.rollouts.forEach((rollout, r) => {
    Object.assign(rollout, { verdict: verdict(rollout), own: owned(rollout), turns: turns(rollout) });
    const grade = rollout.verdict ? make('span', rollout.verdict.name, rollout.verdict.mark) : make('span');
    const row = make('div', 'row', null, make('span', '', `${r + 1} `), make('span', '', `${rollout.own} tokens`));
    row.firstChild.append(grade);
    const bar = make('div', 'share', null, ...[1, 3, 2, 4].map((q) => make('i', `b${q}`)));
    rollout.button = make('button', '', null, row, bar);
    rollout.button.addEventListener('click', () => go(r));
    rollout.bar = bar;
    $('rollouts').append(make('li', '', null, rollout.button));
  });
  const scored = H.rollouts.some(({ score }) => score !== null);
  $('wrong-is').textContent = scored ? 'only scores below 1' : 'only wrong answers';
  const judged = H.rollouts.some((rollout) => rollout.verdict);
  for (const place of document.querySelectorAll('.judged')) place.hidden = !judged;
  $('foreign').hidden = H.rollouts.every(({ own, length }) => own === length);
}

function paintList() {
  H.rollouts.forEach((rollout, r) => {
    const fit = fits(rollout);
    rollout.button.parentNode.hidden = !fit;
    rollout.button.setAttribute('aria-current', String(r === state.rollout));
  });
}

function paintBars() {
  for (const rollout of H.rollouts) {
    const parts = shares(rollout);
    [1, 3, 2, 4].forEach((q, place) => { rollout.bar.children[place].style.width = `${100 * parts[q - 1].share}%`; });
  }
}

function buildLegend() {
  const axis = (text, name = '') => make('div', `axis ${name}`, text);
  const cells = LEGEND.map(([q, title, means]) => {
    const head = make('b', '', null, make('span', '', `Q${q}`), make('span', 'number'));
    const button = make('button', `l${q}`, null, head, make('b', '', title), make('span', '', means));
    button.id = `q${q}`;
    button.title = `Only Q${q} (${q})`;
    button.addEventListener('click', () => toggle(q));
    return button;
  });
  $('legend').append(axis('unsure', 'up'), cells[0], cells[1], axis('sure', 'up'), cells[2], cells[3], axis(''), axis('teacher agrees'), axis('teacher disagrees'));
  $('scope').textContent = 'of this rollout; click to filter';
}

function paintLegend() {
  for (const { q, share } of shares(H.rollouts[state.rollout])) {
    $(`q${q}`).querySelector('.number').textContent = percent(share);
    $(`q${q}`).setAttribute('aria-pressed', String(state.quadrants.has(q)));
  }
  const { length, own } = H.rollouts[state.rollout];
  $('foreign').querySelector('.number').textContent = length - own;
  for (const axis of ['entropy', 'divergence']) {
    const quantile = Number($(axis).value);
    $(`${axis}-at`).textContent = `${number(cut[axis])} (q ${quantile.toFixed(3).replace(/0$/, '')})`;
  }
  $('reset').hidden = ['entropy', 'divergence'].every((axis) => Number($(axis).value) === H.quantiles[axis]);
}

function paintTitle() {
  const rollout = H.rollouts[state.rollout];
  const { start, length, own, cut: ended } = rollout;
  $('title').textContent = `Rollout ${state.rollout + 1} of ${H.rollouts.length}`;
  $('grade').className = rollout.verdict ? rollout.verdict.name : '';
  $('grade').textContent = rollout.verdict ? rollout.verdict.mark + rollout.verdict.more : '';
  const counts = H.rules.map((name, rule) => {
    let n = 0;
    for (let i = start; i < start + length; i++) n += kept(i, rule);
    return H.rules.length > 1 ? `${name} ${n}` : `${n} kept`;
  });
  const others = length > own ? [`${length - own} not the student’s`] : [];
  const said = `${own} ${length > own ? 'own ' : ''}tokens${ended ? ` (${ended})` : ''}`;
  $('counts').textContent = [said, ...counts, ...others].join(' · ');
}

function buildComparison() {
  if (H.rules.length < 2) return;
  $('compare').hidden = false;
  const head = make('tr', '', null, make('th'), ...H.rules.map((name) => make('th', '', name)));
  const body = H.rules.map((name, a) => make('tr', '', null, make('th', '', name), ...H.rules.map((_, b) => {
    const cell = make('td', '', H.overlap[a][b].toFixed(2));
    cell.style.background = `color-mix(in srgb, var(--q1) ${Math.round(60 * H.overlap[a][b])}%, var(--card))`;
    return cell;
  })));
  $('matrix').append(head, ...body);
  H.rules.forEach((name, rule) => {
    const { count, kept: all, tokens } = H.only[rule];
    const line = make('p', '', null, make('b', '', name), ` alone keeps ${count} of its ${all} tokens${count ? ', most often ' : ''}`);
    tokens.forEach(([text, times]) => line.append(make('code', '', visible(text)), ` ${times} `));
    $('alone').append(line);
  });
}
