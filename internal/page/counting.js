// ---------- Counting ----------

function count(answer) {
  tally.total++;
  if (answer.failure) {
    tally.failed++;
    entry(tally.failures, `${answer.failure}\n${answer.name}`, 'others\n', newFailure).count++;
  }
  if (answer.name) {
    const revision = answer.revision = entry(tally.revisions, answer.name, 'others', newRevision);
    revision.count++;
    if (answer.failure) revision.failed++;
    else revision.latencies[revision.answered++ % latenciesKept] = answer.latency;
    if (!isOfBefore(answer)) {
      answer.counted = performance.now();
      tally.recent.push(answer);
      weigh(answer, 1);
    }
  }
  showDot(answer);
  if (!isSilent()) record(answer);
}

// forget takes the answers away that the shares are no longer of.
function forget() {
  const {recent} = tally, oldest = performance.now() - sharesTime;
  const isTooMuch = () => rehearsal.split ? recent.length > sharesLimit : !paused && recent[0]?.counted < oldest;
  while (isTooMuch()) weigh(recent.shift(), -1);
}

// weigh adds to the latest of a revision, or takes away from them.
function weigh({revision, failure, pod}, by) {
  const {latest, pods} = revision;
  latest[failure ? 'bad' : 'ok'] += by;
  if (!pod) return;
  pods.set(pod, (pods.get(pod) ?? 0) + by);
  if (pods.get(pod) === 0) pods.delete(pod);
}

// entry is what map has for key, or for rest when it has enough.
function entry(map, key, rest, make) {
  if (!map.has(key) && map.size >= namesLimit) key = rest;
  if (!map.has(key)) map.set(key, make(key));
  return map.get(key);
}

function newRevision(name) {
  const item = newItem('revision'), look = lookOf(name);
  part(item, 'name').textContent = name;
  part(item, 'ok').classList.add(look.color, look.texture);
  wear(part(item, 'dot'), look, '', false);
  insert(byID('revisions'), item, name);
  return {
    name, item, expected: 0, // percent of a rehearsal's split
    count: 0, failed: 0, answered: 0, latencies: new Float64Array(latenciesKept),
    latest: {ok: 0, bad: 0}, pods: new Map(), // of the recent answers
  };
}

function newFailure(key) {
  const [kind, name] = key.split('\n', 2);
  const item = newItem('failure');
  item.dataset.kind = kind;
  part(item, 'name').textContent = name;
  wear(part(item, 'dot'), name ? lookOf(name) : nobody, '', true);
  insert(byID('failures'), item, name);
  return {item, kind, count: 0};
}
