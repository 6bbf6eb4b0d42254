// ---------- Rehearsing: on a cluster no answer has X-Rehearsal, and none of this shows ----------

// follow takes up the split that an answer was drawn by, whoever has set it. An
// answer that was asked for before the last change was seen may be of an older
// one.
function follow({split, latest, start}) {
  if (start < rehearsal.since) return;
  if (split !== rehearsal.split || latest !== rehearsal.latest) adopt(split, latest);
  if (split && !rehearsal.files) askRehearsal();
  else reveal();
}

// isOfBefore is true for an answer that was drawn before the last change.
function isOfBefore({split, latest}) {
  return split !== '' && (split !== rehearsal.split || latest !== rehearsal.latest);
}

function adopt(split, latest) {
  const isChange = split && rehearsal.split;
  Object.assign(rehearsal, {split, latest, since: performance.now(), changed: Date.now()});
  rehearsal.changes++;
  for (const answer of tally.recent.splice(0)) weigh(answer, -1);
  for (const dot of dots) dot.classList.add('before');
  showRehearsal();
  if (isChange) markChange(rehearsal.changes - 1, fileOf(split, latest)?.file ?? split);
  render();
}

async function askRehearsal() {
  if (rehearsal.asking) return;
  rehearsal.asking = true;
  try {
    const response = await callRehearsal({});
    if (!response.ok) throw new Error(response.status);
    const {service, files} = await response.json();
    Object.assign(rehearsal, {service, files});
    byID('files').append(...files.map(newFile));
    showRehearsal();
  } catch {} // the next answer asks again
  rehearsal.asking = false;
  reveal();
}

// change asks for one change after the other, as they were chosen: for a file
// by its name, or for percents.
function change(body) {
  rehearsal.queue = rehearsal.queue.then(async () => {
    const start = performance.now();
    try {
      const response = await callRehearsal({method: 'PUT', body});
      if (!response.ok) return say(`Not changed: ${(await response.text()).trim().slice(0, 300) || response.status}`, true);
      follow({...await response.json(), start});
      byID('percents').reset();
      showRehearsal();
    } catch {
      say('The rehearsal does not answer: the split may not have changed.', true);
    }
  });
}

function callRehearsal(options) {
  return fetch('./rehearsal', {...options, cache: 'no-store', headers: {Accept: 'application/json'}, signal: AbortSignal.timeout(timeLimit)});
}

function say(text, wrong) {
  byID('said').classList.toggle('wrong', wrong);
  write(byID('said'), text);
}

function showRehearsal() {
  const {split, latest, files} = rehearsal;
  const isKnown = Boolean(split && files);
  for (const id of ['rehearsal', 'percents', 'marks', 'heads']) byID(id).hidden = !isKnown;
  if (!isKnown) return;
  const applied = fileOf(split, latest)?.file ?? split, percents = parse(split);
  say(`${applied} since ${clock.format(rehearsal.changed)}`, false);
  for (const button of document.querySelectorAll('#changes button')) button.ariaPressed = button.dataset.change === applied;
  byID('split').defaultValue = split; // shows unless another is being typed
  for (const revision of tally.revisions.values()) revision.expected = 0;
  for (const [tag, percent] of percents) {
    entry(tally.revisions, `${rehearsal.service}-${tag}`, 'others', newRevision).expected += Number(percent);
  }
  const host = `latest.localhost${location.port && ':'}${location.port}`;
  byID('alone').hidden = percents.get(latest) > 0;
  byID('alone').href = `//${host}/`;
  write(byID('alone'), `${latest} alone answers at ${host}`);
}

function newFile({file, does}) {
  const item = newItem('file');
  item.firstElementChild.dataset.change = file;
  write(part(item, 'file'), file);
  write(part(item, 'does'), does);
  return item;
}

// fileOf is the file that has left the rehearsal as it is, if one has.
function fileOf(split, latest) {
  return rehearsal.files?.find(file => file.split === split && file.latest === latest);
}

// cure is what to do about a revision that fails.
function cure(name) {
  if (!rehearsal.split) return 'Roll back: apply the file that left it out.';
  const file = rehearsal.files?.findLast(({split}) => ![...parse(split).keys()].some(tag => name === `${rehearsal.service}-${tag}`));
  return file ? `Roll back: press ${file.file}.` : 'Give its traffic to another revision.';
}

// parse reads v1=50,v2=50.
function parse(split) {
  return new Map(split.split(',').map(part => part.split('=')));
}
