// ---------- Drawing: the timeline ----------

const columnTime = 2000; // ms
const columnsShown = 90;
const shownTime = columnTime * columnsShown;
const unwatchedTime = 3000; // ms without a look at the clock
const stepwise = matchMedia('(prefers-reduced-motion: reduce)');

const columns = Array.from({length: columnsShown + 1}, newColumn); // the last one is filling
const minutes = Array.from({length: 4}, () => newSpan('minutes'));
let notes = [];
let newest = Math.floor(Date.now() / columnTime), ticked = Date.now();

function newColumn() {
  return {element: newSpan('columns'), slices: new Map()};
}

// tick shows what passes without answers, too. Where it comes late, nobody has
// watched: the page was paused or behind another tab, or the machine asleep.
function tick() {
  const now = Date.now();
  if (now - ticked > unwatchedTime) newNote('gap', 'not watched', ticked, now);
  ticked = now;
  render();
}

function record({revision, failure}) {
  advance();
  const {element, slices} = columns.at(-1);
  const name = failure ? '' : revision.name;
  if (!slices.has(name)) slices.set(name, newSlice(element, name));
  const slice = slices.get(name);
  slice.element.style.flexGrow = ++slice.count;
}

function newSlice(column, name) {
  const element = document.createElement('span');
  element.className = name ? `${lookOf(name).color} ${lookOf(name).texture}` : 'bad';
  insert(column, element, name);
  return {element, count: 0};
}

// advance takes up the oldest columns for the time that has passed. Where the
// clock was set back, all of them are of another time.
function advance() {
  const passed = Math.floor(Date.now() / columnTime) - newest;
  if (passed === 0 || passed === -1) return;
  newest += passed;
  for (const column of columns.splice(0, passed < 0 ? columns.length : passed)) {
    column.element.replaceChildren();
    column.slices.clear();
    byID('columns').append(column.element);
    columns.push(column);
  }
  byID('columns').ariaLabel = `Shares by half minute, the oldest first: ${describe()}`;
}

// newNote writes text over the timeline, from one time to another.
function newNote(kind, text, from, to) {
  const element = byID('notes').appendChild(newItem('note'));
  element.className = kind;
  write(part(element, 'text'), text);
  notes.push({elements: [element], from, to});
  return notes.at(-1);
}

// markChange draws a line at now, and tells beside its number what changed.
function markChange(change, what) {
  const now = Date.now(), item = newItem('change');
  write(part(item, 'number'), `${change}`);
  write(part(item, 'when'), clock.format(now));
  write(part(item, 'what'), what);
  byID('marks').prepend(item);
  newNote('line', `${change}`, now, now).elements.push(item);
}

function renderTimeline() {
  advance();
  const now = Date.now();
  const filled = stepwise.matches ? 1 : Math.max(0, now / columnTime - newest);
  const pixels = filled * byID('timeline').clientWidth / columnsShown * devicePixelRatio;
  byID('columns').style.translate = `${-Math.round(pixels) / devicePixelRatio}px`; // no seams between columns
  minutes.forEach((label, n) => {
    const time = (Math.floor(now / 60_000) - n) * 60_000;
    write(label, minute.format(time));
    label.style.left = `${placeOf(time, now)}%`;
  });
  notes = notes.filter(({elements, from, to}) => {
    const isShown = to > now - shownTime && from < now + columnTime;
    if (!isShown) elements.forEach(element => element.remove());
    elements[0].style.left = `${placeOf(from, now)}%`;
    elements[0].style.width = `${100 * (to - from) / shownTime}%`;
    return isShown;
  });
}

// placeOf is where a time is, in percent of the timeline's width.
function placeOf(time, now) {
  return 100 * (1 - (now - time) / shownTime);
}

// describe is the timeline for those who do not see it.
function describe() {
  const texts = [], size = 15; // columns of half a minute
  for (let n = 1; n < columns.length; n += size) {
    const counts = new Map();
    for (const {slices} of columns.slice(n, n + size)) {
      for (const [name, {count}] of slices) counts.set(name, (counts.get(name) ?? 0) + count);
    }
    const sum = [...counts.values()].reduce((a, b) => a + b, 0);
    const shares = [...counts].sort(([a], [b]) => byName(a, b)).map(([name, count]) => `${name || 'failed'} ${percent.format(count / sum)}`);
    texts.push(`${clock.format((newest - columnsShown + n) * columnTime)} ${shares.join(', ') || 'no answers'}`);
  }
  return texts.join('; ');
}
