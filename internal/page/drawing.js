// ---------- Drawing: the rest ----------

const strangersLimit = {length: 5, time: 3000}; // answers from no revision, in a row, and their ms
const onlyLimit = 100; // answers from one revision, in a row: a canary's seldom are
const nobody = {color: '', shape: '', texture: '', label: '✕'};

const dots = Array.from({length: capacity}, () => newSpan('dots'));

function render() {
  forget();
  renderTimeline();
  renderRate();
  for (const revision of tally.revisions.values()) renderRevision(revision);
  for (const {item, kind, count} of tally.failures.values()) {
    item.dataset.count = count;
    write(part(item, 'kind'), `${kind} × ${number.format(count)}`);
  }
  write(byID('latest'), sharesAre());
  write(byID('since'), clock.format(tally.since));
  byID('total').dataset.count = tally.total;
  write(byID('total'), `${number.format(tally.total)} requests`);
  write(byID('failed'), `${number.format(tally.failed)} failed${tally.failed ? `, ${percent.format(tally.failed / tally.total)}` : ''}`);
  byID('waiting').hidden = tally.revisions.size > 0;
  write(byID('banner'), warning());
  renderOnly();
}

function sharesAre() {
  const length = number.format(tally.recent.length);
  if (!rehearsal.split) return `of the ${length} answers of the last ${sharesTime / 1000} s`;
  return `of the ${tally.recent.length < sharesLimit ? '' : 'latest '}${length} answers since ${clock.format(rehearsal.changed)}`;
}

function warning() {
  const again = paused ? '' : ' Trying again…';
  if (isSilent()) {
    const since = clock.format(silence.since);
    if (silence.kind === tooSlow) return `Nothing has answered within ${timeLimit / 1000} s since ${since}: too slow.${again}`;
    return `Nothing answers here since ${since}.${again}`;
  }
  if (strangers.length < strangersLimit.length || Date.now() < strangers.since + strangersLimit.time) return '';
  return `Every answer since ${clock.format(strangers.since)} is ${strangers.kind || 'a failure'}, from no revision.`;
}

// renderOnly is for a preview, where one revision alone answers: a host of a
// rehearsal's tag is one, and any other address may be.
function renderOnly() {
  const limit = location.hostname.endsWith('.localhost') ? 1 : onlyLimit;
  const isOnly = !rehearsal.split && only.length >= limit;
  write(byID('only'), isOnly ? `Only ${only.kind} has answered here since ${clock.format(only.since)}.` : '');
  const title = isOnly ? `Only ${only.kind.slice(only.kind.lastIndexOf('-') + 1)} · Traffic split` : 'Traffic split';
  if (document.title !== title) document.title = title;
}

// showDot is for the newest answer.
function showDot(answer) {
  const {name, failure} = answer;
  const dot = dots[(tally.total - 1) % capacity];
  document.querySelector('#dots .newest')?.classList.remove('newest');
  wear(dot, name ? lookOf(name) : nobody, failure && name ? `${failure} from ${name}` : failure || name, Boolean(failure));
  dot.classList.add('newest');
  dot.classList.toggle('before', isOfBefore(answer));
}

function renderRevision({name, item, expected, count, failed, answered, latencies, latest, pods}) {
  const mine = latest.ok + latest.bad, all = tally.recent.length;
  const facts = [`in all ${number.format(count)} requests${failed ? `, ${number.format(failed)} failed` : ''}`];
  if (pods.size) facts.push(pods.size === 1 ? '1 pod' : `${number.format(pods.size)} pods`);
  if (answered) {
    const sorted = latencies.slice(0, answered).sort();
    const quantile = q => duration(sorted[Math.ceil(q * sorted.length) - 1]);
    facts.push(`median ${quantile(.5)}`, `99% in ${quantile(.99)}`);
  }
  Object.assign(item.dataset, {count, failed, latest: mine, share: all ? mine / all : ''});
  write(part(item, 'facts'), facts.join(' · '));
  write(part(item, 'share'), all ? percent.format(mine / all) : '–');
  part(item, 'ok').style.width = `${100 * latest.ok / (all || 1)}%`;
  part(item, 'bad').style.width = `${100 * latest.bad / (all || 1)}%`;
  write(part(item, 'alarm'), latest.bad ? `${number.format(latest.bad)} of ${number.format(mine)} failed, ${percent.format(latest.bad / mine)}. ${cure(name)}` : '');
  if (byID('heads').hidden) return delete item.dataset.expected;
  item.dataset.expected = expected;
  write(part(item, 'expected'), `${expected}%`);
  part(item, 'mark').style.left = `${expected}%`;
}

// renderRate tells where fewer requests are sent than are asked for.
function renderRate() {
  const now = performance.now();
  while (sends[0] < now - rateTime) sends.shift();
  if (paused || now < scheduled + rateTime) return write(byID('sent'), '');
  const wanted = byID('rate').valueAsNumber * rateTime / 1000;
  write(byID('sent'), sends.length < .9 * wanted - 1 ? `· actually sent: ${(sends.length * 1000 / rateTime).toFixed(1)}` : '');
}

function duration(ms) {
  if (ms >= 1000) return `${(ms / 1000).toFixed(2)} s`;
  return `${ms.toFixed(ms < 10 ? 1 : 0)} ms`;
}

// lookOf is the same for a name on every page: the number at its end chooses
// one of 8 colors and, 8 apart, one of 4 shapes and textures. Colors 0 and 4
// begin with another texture: to colour-blind eyes they are color 3's grey.
function lookOf(name) {
  const digits = /\d+$/.exec(name);
  const n = digits ? Number(digits[0]) : hash(name);
  const color = n % 8, shape = Math.floor(n / 8) % 4;
  const last = name.slice(name.lastIndexOf('-') + 1).replace(/^0+(?=\d)/, '');
  return {
    color: `color-${color}`,
    shape: `shape-${shape}`,
    texture: `texture-${(shape + ({0: 2, 4: 1}[color] ?? 0)) % 4}`,
    label: Array.from(last).slice(0, 4).join(''),
  };
}

function hash(text) {
  return Array.from(text).reduce((sum, letter) => (31 * sum + letter.codePointAt(0)) % 65521, 0);
}

function wear(dot, {color, shape, texture, label}, title, failed) {
  dot.className = `dot ${color} ${shape} ${texture} letters-${label.length} ${failed ? 'failed' : ''}`;
  dot.title = title;
  write(dot, label);
}
