'use strict';

// The page asks its own address again and again, counts which revision gave each answer, and draws the counts.
// From top to bottom: limits, state, asking, counting, the timeline, the rest of the drawing, the rehearsal, controls.

// ---------- Limits ----------

const timeLimit = 10_000; // ms for one answer
const inFlightLimit = 5; // requests: browsers open 6 connections to a host, and one is for the rehearsal
const nameLimit = 12; // revisions with a row of their own, and kinds of failure
const shareTime = 10_000; // ms whose answers the shares are of, where nobody tells of a change
const rateTime = 5_000; // ms over which the rate actually sent is measured
const columnTime = 2_000; // ms in a column of the timeline
const columnCount = 90; // columns in sight
const timelineTime = columnTime * columnCount;
const noAnswer = 'no answer';
const tooSlow = `no answer in ${timeLimit / 1000} s`;

const byID = id => document.getElementById(id);
const byName = new Intl.Collator('en', {numeric: true}).compare; // v10 after v9
const number = new Intl.NumberFormat('en');
const percent = new Intl.NumberFormat('en', {style: 'percent', minimumFractionDigits: 1, maximumFractionDigits: 1});
const duration = new Intl.NumberFormat('en', {style: 'unit', unit: 'millisecond', maximumSignificantDigits: 3});
const clock = new Intl.DateTimeFormat('en-GB', {timeStyle: 'medium'});
const minute = new Intl.DateTimeFormat('en-GB', {timeStyle: 'short'});

// ---------- State ----------

// Times called …At are by the clock on the wall, which can be set; the others are by performance.now.
const state = {
  paused: false,
  ready: false, // whether main shows
  rate: 0, rateSince: 0, // requests per second
  sends: [], inFlight: 0, timers: [], // sends are times of the last rateTime
  startedAt: Date.now(), total: 0, failed: 0,
  streak: {source: '', count: 0, sinceAt: 0, failure: ''}, // the newest answers, as far back as one source gave them
  recent: [], // the answers that the shares are of, each from a revision
  revisions: new Map(), failures: new Map(), // by name, and by kind and name
  dots: newDots(),
  columns: Array.from({length: columnCount + 1}, () => ({item: newSpan('columns'), slices: new Map()})),
  columnNumber: Math.floor(Date.now() / columnTime), // of the last column, which is filling
  minutes: Array.from({length: 4}, () => newSpan('minutes')),
  notes: [], watchedAt: Date.now(),
  rehearsal: {
    split: '', latest: '', since: 0, sinceAt: 0, // as the newest answer has them; on a cluster both are empty
    service: '', files: null, // what GET /rehearsal tells, once it has
    queue: Promise.resolve(), calls: 0, // waiting in the queue
    changes: 0, refusal: '', // why the last one was not made
  },
};

// newDots makes as many dots as page.css has room for.
function newDots() {
  const style = getComputedStyle(byID('dots'));
  const length = style.getPropertyValue('--columns') * style.getPropertyValue('--rows');
  return Array.from({length}, () => newSpan('dots'));
}

function newSpan(parent) {
  return byID(parent).appendChild(document.createElement('span'));
}

// ---------- Asking ----------

// schedule asks at the chosen rate, unless nobody looks.
function schedule() {
  state.timers.forEach(clearInterval);
  state.rateSince = performance.now();
  if (state.paused || document.hidden) return;
  tick();
  state.timers = [setInterval(send, 1000 / (isNothingAnswering() ? 1 : state.rate)), setInterval(tick, 250)];
}

// tick shows what passes without answers, too. It comes late where the page was paused or behind another tab, or the
// machine was asleep.
function tick() {
  const now = Date.now();
  if (now - state.watchedAt > 3_000) addNote('gap', 'not watched', state.watchedAt, now);
  state.watchedAt = now;
  render();
}

async function send() {
  if (state.inFlight >= inFlightLimit) return; // a slow revision must not pile up requests
  state.inFlight++;
  state.sends.push(performance.now());
  const answer = await ask();
  state.inFlight--;
  if (answer.name) followSplit(answer);
  count(answer);
  drawAnswer(answer);
  if (!isNothingAnswering()) addToTimeline(answer);
  extendStreak(answer);
  if (state.paused) render(); // and else at the next tick
}

async function ask() {
  const answer = {name: '', failure: noAnswer, sentAt: Date.now(), sent: performance.now()};
  try {
    const response = await fetch('./', {
      cache: 'no-store',
      headers: {Accept: 'text/plain'},
      signal: AbortSignal.timeout(timeLimit),
    });
    const header = name => response.headers.get(name) ?? '';
    answer.name = header('X-Revision').slice(0, 100);
    answer.pod = header('X-Pod').slice(0, 100);
    answer.split = header('X-Rehearsal');
    answer.latest = header('X-Rehearsal-Latest');
    const text = await response.text();
    answer.latency = performance.now() - answer.sent;
    answer.failure = response.ok ? '' : `${response.status}`;
    // A revision that does not send X-Revision differs by its text.
    if (response.ok) answer.name ||= text.trim().replace(/^Welcome to the (.*) app!$/, '$1').slice(0, 100) || 'unnamed';
  } catch (error) { // the answer may have begun, and have a name
    if (error.name === 'TimeoutError') answer.failure = tooSlow;
  }
  return answer;
}

// extendStreak also slows the asking down while nothing answers.
function extendStreak({name, failure, sentAt}) {
  const wasNothingAnswering = isNothingAnswering();
  const source = name || (failure === noAnswer || failure === tooSlow ? 'nothing' : 'gateway');
  if (source !== state.streak.source) state.streak = {source, count: 0, sinceAt: sentAt, failure};
  state.streak.count++;
  if (failure !== state.streak.failure) state.streak.failure = '';
  if (isNothingAnswering() !== wasNothingAnswering) schedule();
}

function isNothingAnswering() {
  return state.streak.source === 'nothing' && state.streak.count >= 3;
}

// ---------- Counting ----------

function count(answer) {
  const {name, failure} = answer;
  state.total++;
  if (failure) {
    state.failed++;
    entryOf(state.failures, byID('failures'), `${failure}\n${name}`, newFailure, 'others\n').count++;
  }
  if (!name) return;
  answer.revision = revisionOf(name);
  answer.revision.count++;
  if (failure) answer.revision.failed++;
  answer.counted = performance.now();
  if (!isOfOldSplit(answer)) state.recent.push(answer);
}

// dropOldAnswers leaves those that the shares are of: in a rehearsal as many as there are dots.
function dropOldAnswers() {
  const {recent, rehearsal} = state;
  if (rehearsal.split) recent.splice(0, recent.length - state.dots.length);
  while (!rehearsal.split && !state.paused && recent[0]?.counted < performance.now() - shareTime) recent.shift();
}

function revisionOf(name) {
  return entryOf(state.revisions, byID('revisions'), name, newRevision, 'others');
}

// entryOf is what the map has for key, or for rest where it is full. The list shows the items of the map in order.
function entryOf(map, list, key, make, rest = key) {
  if (!map.has(key) && map.size >= nameLimit) key = rest;
  if (!map.has(key)) {
    map.set(key, make(key));
    list.append(...[...map.keys()].sort(byName).map(key => map.get(key).item));
  }
  return map.get(key);
}

function newRevision(name) {
  const item = newItem('revision', {name});
  part(item, 'ok').classList.add(lookOf(name));
  drawDot(part(item, 'dot'), name, '');
  return {name, item, count: 0, failed: 0, expected: 0}; // expected in percent
}

function newFailure(key) {
  const [kind, name] = key.split('\n');
  const item = newItem('failure', {name});
  drawDot(part(item, 'dot'), name, kind);
  return {kind, item, count: 0};
}

function newItem(template, texts) {
  const item = byID(template).content.firstElementChild.cloneNode(true);
  writeParts(item, texts);
  return item;
}

function writeParts(item, texts) {
  for (const [name, text] of Object.entries(texts)) write(part(item, name), text);
}

function part(item, name) {
  return item.querySelector(`.${name}`);
}

// write leaves equal text alone: a banner is read out once.
function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

// ---------- The timeline ----------

function addToTimeline({failure, revision}) {
  moveColumns();
  const {item, slices} = state.columns.at(-1);
  const slice = entryOf(slices, item, failure ? '' : revision.name, newSlice);
  slice.item.style.flexGrow = ++slice.count;
}

function newSlice(name) {
  const item = document.createElement('span');
  item.className = name ? lookOf(name) : 'bad';
  return {item, count: 0};
}

// moveColumns empties the oldest columns for the time that has passed. Where the clock was set back by more than a
// column, all of them are of another time.
function moveColumns() {
  const passed = Math.floor(Date.now() / columnTime) - state.columnNumber;
  if (passed === 0 || passed === -1) return;
  state.columnNumber += passed;
  for (const column of state.columns.splice(0, passed < 0 ? state.columns.length : passed)) {
    column.item.replaceChildren();
    column.slices.clear();
    byID('columns').append(column.item);
    state.columns.push(column);
  }
  byID('columns').ariaLabel = `Shares by half minute, the oldest first: ${describeTimeline()}`;
}

// addNote writes text over the timeline, from one time to another. A listed item goes with it.
function addNote(kind, text, fromAt, toAt, ...listed) {
  const item = byID('notes').appendChild(newItem('note', {text}));
  item.className = kind;
  state.notes.push({item, fromAt, toAt, listed});
}

// markChange draws a line at now, and tells beside its number what changed.
function markChange(what) {
  const now = Date.now(), change = `${++state.rehearsal.changes}`;
  const item = newItem('change', {number: change, when: clock.format(now), what});
  byID('marks').prepend(item);
  addNote('line', change, now, now, item);
}

function renderTimeline() {
  moveColumns();
  const now = Date.now();
  const place = at => `${100 * (1 - (now - at) / timelineTime)}%`;
  const isStepwise = matchMedia('(prefers-reduced-motion: reduce)').matches;
  const filled = isStepwise ? 1 : Math.max(0, now / columnTime - state.columnNumber);
  const pixels = filled * byID('timeline').clientWidth / columnCount * devicePixelRatio;
  byID('columns').style.translate = `${-Math.round(pixels) / devicePixelRatio}px`; // no seams between columns
  byID('columns').style.gridAutoColumns = `${100 / columnCount}%`;
  state.minutes.forEach((label, n) => {
    const at = (Math.floor(now / 60_000) - n) * 60_000;
    write(label, minute.format(at));
    label.style.left = place(at);
  });
  state.notes = state.notes.filter(({item, fromAt, toAt, listed}) => {
    const isShown = toAt > now - timelineTime && fromAt < now + columnTime;
    if (!isShown) [item, ...listed].forEach(element => element.remove());
    item.style.left = place(fromAt);
    item.style.width = `${100 * (toAt - fromAt) / timelineTime}%`;
    return isShown;
  });
}

// describeTimeline is for those who do not see it.
function describeTimeline() {
  const size = 15; // columns of half a minute
  const sum = slices => slices.reduce((all, [, {count}]) => all + count, 0);
  const texts = Array.from({length: columnCount / size}, (_, n) => {
    const first = 1 + n * size, time = clock.format((state.columnNumber - columnCount + first) * columnTime);
    const slices = state.columns.slice(first, first + size).flatMap(({slices}) => [...slices]);
    const shares = [...Map.groupBy(slices, ([name]) => name)].sort(([a], [b]) => byName(a, b))
      .map(([name, own]) => `${name || 'failed'} ${percent.format(sum(own) / sum(slices))}`);
    return `${time} ${shares.join(', ') || 'no answers'}`;
  });
  return texts.join('; ');
}

// ---------- The rest of the drawing ----------

function render() {
  dropOldAnswers();
  document.querySelector('main').hidden = !state.ready;
  renderTimeline();
  renderRate();
  renderRehearsal();
  const answers = Map.groupBy(state.recent, ({revision}) => revision);
  for (const revision of state.revisions.values()) renderRevision(revision, answers.get(revision) ?? []);
  for (const {item, kind, count} of state.failures.values()) {
    writeParts(item, {kind: `${kind} × ${number.format(count)}`});
  }
  const {total, failed, startedAt} = state;
  write(byID('latest'), sharesAreOf());
  write(byID('since'), clock.format(startedAt));
  write(byID('total'), `${number.format(total)} requests`);
  write(byID('failed'), `${number.format(failed)} failed${failed ? `, ${percent.format(failed / total)}` : ''}`);
  byID('waiting').hidden = state.revisions.size > 0;
  write(byID('banner'), warning());
  renderPreview();
}

function sharesAreOf() {
  const {recent, rehearsal, dots} = state;
  const answers = `${number.format(recent.length)} answers`;
  if (!rehearsal.split) return `of the ${answers} of the last ${shareTime / 1000} s`;
  return `of the ${recent.length < dots.length ? '' : 'latest '}${answers} since ${clock.format(rehearsal.sinceAt)}`;
}

function warning() {
  const {source, count, sinceAt, failure} = state.streak;
  const since = clock.format(sinceAt), again = state.paused ? '' : ' Trying again…';
  const slow = `Nothing has answered within ${timeLimit / 1000} s since ${since}: too slow.`;
  if (isNothingAnswering()) return `${failure === tooSlow ? slow : `Nothing answers here since ${since}.`}${again}`;
  if (source !== 'gateway' || count < 5 || Date.now() < sinceAt + 3_000) return '';
  return `Every answer since ${since} is ${failure || 'a failure'}, from no revision.`;
}

// renderPreview tells where one revision alone answers. In a split one seldom answers 100 times in a row.
function renderPreview() {
  const {source, count, sinceAt} = state.streak;
  const limit = location.hostname.endsWith('.localhost') ? 1 : 100;
  const isPreview = state.revisions.has(source) && !state.rehearsal.split && count >= limit;
  write(byID('only'), isPreview ? `Only ${source} has answered here since ${clock.format(sinceAt)}.` : '');
  write(document.querySelector('title'), `${isPreview ? `Only ${lastPart(source)} · ` : ''}Traffic split`);
}

// renderRate tells where fewer requests are sent than are asked for.
function renderRate() {
  const {sends, rate, rateSince, paused} = state, now = performance.now();
  while (sends[0] < now - rateTime) sends.shift();
  const isLess = sends.length < .9 * rate * rateTime / 1000 - 1 && now >= rateSince + rateTime && !paused;
  write(byID('rate-value'), `${rate}`);
  write(byID('sent'), isLess ? `· actually sent: ${(sends.length * 1000 / rateTime).toFixed(1)}` : '');
}

function renderRevision(revision, answers) {
  const {name, item, expected} = revision, {length} = answers, all = state.recent.length;
  const good = answers.filter(({failure}) => !failure), bad = length - good.length;
  const failures = `${number.format(bad)} of ${number.format(length)} failed, ${percent.format(bad / length)}`;
  writeParts(item, {
    expected: `${expected}%`,
    share: all ? percent.format(length / all) : '–',
    alarm: bad ? `${failures}. ${rollbackAdvice(name)}` : '',
    facts: factsOf(revision, answers, good).join(' · '),
  });
  part(item, 'ok').style.width = `${100 * good.length / (all || 1)}%`;
  part(item, 'bad').style.width = `${100 * bad / (all || 1)}%`;
  part(item, 'mark').style.left = `${expected}%`;
}

function factsOf({count, failed}, answers, good) {
  const facts = [`in all ${number.format(count)} requests${failed ? `, ${number.format(failed)} failed` : ''}`];
  const pods = new Set(answers.map(({pod}) => pod).filter(Boolean)).size;
  if (pods) facts.push(pods === 1 ? '1 pod' : `${number.format(pods)} pods`);
  if (good.length === 0) return facts;
  const latencies = good.map(({latency}) => latency).sort((a, b) => a - b);
  const quantile = q => duration.format(latencies[Math.ceil(q * latencies.length) - 1]);
  return [...facts, `median ${quantile(.5)}`, `99% in ${quantile(.99)}`];
}

// drawAnswer gives the newest answer the dot of the oldest.
function drawAnswer(answer) {
  const {dots, total} = state, dot = dots[(total - 1) % dots.length];
  dots.at((total - 2) % dots.length).classList.remove('newest');
  drawDot(dot, answer.name, answer.failure);
  dot.classList.add('newest');
  dot.classList.toggle('before', isOfOldSplit(answer));
}

function drawDot(dot, name, failure) {
  const label = name ? Array.from(lastPart(name)).slice(0, 4).join('') : '✕';
  dot.className = `dot ${name && lookOf(name)} ${failure && 'failed'}`;
  dot.style.setProperty('--letters', label.length);
  dot.title = failure && name ? `${failure} from ${name}` : failure || name;
  write(dot, label);
}

// lookOf is the same for a name on every page: the number at its end, or the sum of its letters, chooses one of 8.
function lookOf(name) {
  const sum = Array.from(name).reduce((sum, letter) => sum + letter.codePointAt(0), 0);
  return `look-${(/\d+$/.exec(name)?.[0] ?? sum) % 8}`;
}

// lastPart is v1 of stock-service-example-v1, and 3 of stock-service-example-00003.
function lastPart(name) {
  return name.slice(name.lastIndexOf('-') + 1).replace(/^0+(?=\d)/, '');
}

// ---------- The rehearsal: on a cluster no answer has X-Rehearsal, and none of this shows ----------

// followSplit takes over the split that an answer was drawn by, whoever has set it. The answer to a request from
// before the last change was seen may be of an older split.
function followSplit({split, latest, sent}) {
  if (sent < state.rehearsal.since) return;
  if (split !== state.rehearsal.split || latest !== state.rehearsal.latest) startSplit(split, latest);
  if (!split || state.rehearsal.files) state.ready = true; // it is known whether this is one: nothing moves afterwards
  else if (state.rehearsal.calls === 0) callRehearsal('GET');
}

function isOfOldSplit({split, latest}) {
  return split !== '' && (split !== state.rehearsal.split || latest !== state.rehearsal.latest);
}

function startSplit(split, latest) {
  const isChange = split && state.rehearsal.split;
  Object.assign(state.rehearsal, {split, latest, since: performance.now(), sinceAt: Date.now(), refusal: ''});
  state.recent = [];
  for (const dot of state.dots) dot.classList.add('before');
  if (isChange) markChange(appliedChange());
  render();
}

function newFile({file, does}) {
  const item = newItem('file', {file, does});
  item.firstElementChild.dataset.change = file;
  return item;
}

// callRehearsal asks for the files or, with a file's name or percents, for a change: one call after the other.
function callRehearsal(method, body) {
  const {rehearsal} = state;
  rehearsal.calls++;
  rehearsal.queue = rehearsal.queue.then(async () => {
    const sent = performance.now(), headers = {Accept: 'application/json'}, signal = AbortSignal.timeout(timeLimit);
    try {
      const response = await fetch('./rehearsal', {method, body, cache: 'no-store', headers, signal});
      if (response.ok) {
        takeOver({...await response.json(), sent});
      } else {
        rehearsal.refusal = `Not changed: ${(await response.text()).trim().slice(0, 300) || response.status}`;
      }
    } catch {
      rehearsal.refusal = 'The rehearsal does not answer: the split may not have changed.';
    }
    rehearsal.calls--;
    state.ready = true;
    render();
  });
}

function takeOver({split, latest, service, files, sent}) {
  if (!state.rehearsal.files) byID('files').append(...files.map(newFile));
  Object.assign(state.rehearsal, {service, files, refusal: ''});
  followSplit({split, latest, sent});
  byID('percents').reset();
}

function renderRehearsal() {
  const {split, latest, service, files, sinceAt, refusal} = state.rehearsal, isKnown = Boolean(split && files);
  for (const id of ['rehearsal', 'percents', 'marks', 'heads']) byID(id).hidden = !isKnown;
  if (!isKnown) return;
  const applied = appliedChange(), expected = percentsOf(split), host = `latest.localhost:${location.port}`;
  byID('said').classList.toggle('wrong', refusal !== '');
  write(byID('said'), refusal || `${applied} since ${clock.format(sinceAt)}`);
  for (const button of document.querySelectorAll('#changes button')) {
    button.ariaPressed = button.dataset.change === applied;
  }
  byID('split').defaultValue = split; // shows unless another is being typed
  for (const revision of state.revisions.values()) revision.expected = 0;
  for (const [name, percent] of expected) revisionOf(name).expected += percent;
  byID('alone').hidden = expected.get(`${service}-${latest}`) !== 0;
  byID('alone').href = `//${host}/`;
  write(byID('alone'), `${latest} alone answers at ${host}`);
}

// appliedChange is the file that has left the rehearsal as it is, if one has, and else the split.
function appliedChange() {
  const {split, latest, files} = state.rehearsal;
  return files?.find(file => file.split === split && file.latest === latest)?.file ?? split;
}

function rollbackAdvice(name) {
  if (!state.rehearsal.split) return 'Roll back: apply the file that left it out.';
  const file = state.rehearsal.files?.findLast(({split}) => !percentsOf(split).has(name));
  return file ? `Roll back: press ${file.file}.` : 'Give its traffic to another revision.';
}

// percentsOf reads v1=50,v2=50, and gives the percents by the revisions' names.
function percentsOf(split) {
  const targets = split.split(',').map(target => target.split('='));
  return new Map(targets.map(([tag, percent]) => [`${state.rehearsal.service}-${tag}`, Number(percent)]));
}

// ---------- Controls ----------

byID('changes').addEventListener('click', ({target}) => {
  const button = target.closest('button');
  if (button) callRehearsal('PUT', button.dataset.change);
});

byID('percents').addEventListener('submit', event => {
  event.preventDefault();
  callRehearsal('PUT', byID('split').value);
});

byID('pause').addEventListener('click', () => {
  state.paused = !state.paused;
  byID('pause').textContent = state.paused ? 'Resume' : 'Pause';
  schedule();
  render();
});

byID('rate').addEventListener('input', setRate);
document.addEventListener('visibilitychange', schedule);
setTimeout(() => { state.ready = true; }, 3000); // where nothing answers so soon
setRate(); // to what a browser may have kept over a reload

function setRate() {
  state.rate = byID('rate').valueAsNumber;
  schedule();
}
