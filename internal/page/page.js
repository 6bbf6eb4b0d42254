'use strict';

// What the parts of the script share; page.go has their order.

const timeLimit = 10_000; // ms for one answer
const namesLimit = 12; // of revisions, and of kinds of failure
const latenciesKept = 200; // of each revision
const sharesLimit = 396; // answers that the shares are of in a rehearsal, at most
const sharesTime = 10_000; // ms that they are of elsewhere, where nobody tells of a change
const capacity = matchMedia('(max-width: 40rem)').matches ? 14 * 14 : 44 * 9; // dots, as page.css lays them out

const byID = id => document.getElementById(id);
const byName = new Intl.Collator('en', {numeric: true}).compare; // v10 after v9
const number = new Intl.NumberFormat('en');
const percent = new Intl.NumberFormat('en', {style: 'percent', minimumFractionDigits: 1, maximumFractionDigits: 1});
const clock = new Intl.DateTimeFormat('en-GB', {timeStyle: 'medium'});
const minute = new Intl.DateTimeFormat('en-GB', {timeStyle: 'short'});

let paused = false;
const tally = {
  since: Date.now(), total: 0, failed: 0,
  recent: [], // the answers that the shares are of, each from a revision
  revisions: new Map(), failures: new Map(),
};
const rehearsal = {
  split: '', latest: '', // as the answers have it; without a rehearsal both are empty
  changes: 0, since: 0, changed: 0, // the changes seen, and the last one's time by both clocks
  service: '', files: null, // what GET /rehearsal tells
  asking: false, queue: Promise.resolve(),
};

function newItem(template) {
  return byID(template).content.firstElementChild.cloneNode(true);
}

function newSpan(parent) {
  return byID(parent).appendChild(document.createElement('span'));
}

function part(item, name) {
  return item.querySelector(`.${name}`);
}

// insert keeps a list sorted by name.
function insert(list, item, name) {
  item.dataset.name = name;
  list.insertBefore(item, [...list.children].find(other => byName(name, other.dataset.name) < 0) ?? null);
}

function write(element, text) {
  if (element.textContent !== text) element.textContent = text; // a banner is read out once
}
