# Reads what the curls of run-test.sh have written, and prints each kind of answer once, with its number.
#
# In: what it printed the last time, and then for each curl a line "MARK curl|NUMBER" and what that curl has written
# since: the headers of each answer, an empty line, and "MARK|exit status|status|time to connect|time|error|.".
# Out:
#   curl|NUMBER|BYTES|MILLISECONDS           how far its file is read, how long its requests have taken in all
#   answer|COUNT|REVISION|POD|FAILURE   answers that are alike; FAILURE is empty if there is none
#   before|COUNT|REVISION|POD|FAILURE   likewise, those before the traffic changed
#   woke|REVISION|MILLISECONDS               when its first answer came in, by the clocks of the curls
#   cold|REVISION|SECONDS               its longest answer that was asked for before
#   silent|WEIGHT|YET                   what has failed since anything answered, 5 is too much; if anything answered yet
#   rehearsed|COUNT                     answers of a rehearsal
#
# Variables: mark, header (which names the revision), prefix (which is taken off its name), timeout, within, gap (the
# least milliseconds from one request of a curl to its next), alone (if it is a single request), changed (if the traffic has).
BEGIN { FS = "|" }

$1 == mark " curl" {
  curl = $2
  start()
  next
}
curl == "" {
  if ($1 == "curl") { read[$2] = $3; clock[$2] = $4 }
  else if ($1 == "woke") woke[$2] = $3
  else if ($1 == "cold") cold[$2] = $3
  else if ($1 == "silent") { silent = $2; yet = $3 }
  else if ($1 == "rehearsed") rehearsed = $2
  else count($2, $1, $3, $4, $5)
  next
}

{ bytes += length($0) + 1 }
$1 == mark && $NF == "." { # but not a line that curl is still writing
  answered($2, $3, $4 + 0, $5 + 0, $6)
  read[curl] += bytes
  start()
  next
}
/^HTTP\// { split("", headers); empty = 0 } # an answer after a redirect has headers of its own
/^\r?$/ { empty++ } # one ends the headers, and one is before the mark
{
  name = tolower(substr($0, 1, index($0, ":") - 1))
  gsub(/^[^:]*:[ \t]*|[ \t\r]+$/, "")
  gsub(/[[:cntrl:]|]/, "?")
  headers[name] = $0
}

END {
  print "silent|" (answers ? 0 : silent + 0) "|" (yet || answers > 0)
  for (i = 1; i <= slow; i++) judge(slow_name[i], slow_pod[i], slow_asked[i], slow_took[i])
  for (c in read) print "curl|" c "|" read[c] "|" clock[c]
  for (key in counts) {
    split(key, part, SUBSEP)
    print part[1] "|" counts[key] "|" part[2] "|" part[3] "|" part[4]
  }
  for (name in woke) print "woke|" name "|" woke[name]
  for (name in cold) print "cold|" name "|" cold[name]
  if (rehearsed) print "rehearsed|" rehearsed
}

function start() { split("", headers); bytes = empty = 0 }
function count(n, kind, name, pod, failure) { counts[(changed ? "before" : kind), name, pod, failure] += n }

function answered(exited, status, connect, time, error,  name, from, failure, asked) {
  name = headers[tolower(header)]
  if (index(name, prefix) == 1) name = substr(name, length(prefix) + 1)
  from = name == "" ? ", which names no revision" : " from " name
  sub(/ (after|with) [0-9]+ [0-9a-z ]+/, "", error) # one cause in one way, without its times and sizes
  if (status == "000" && exited == 28 && connect > 0) failure = "connected, but no answer within " timeout " s"
  else if (status == "000") failure = "no answer (" error ")"
  else if (exited || empty < 2) failure = "an answer cut short (" (exited ? error : "in its headers") ")" from
  else if (status !~ /^2/) failure = "status " status from
  if (status == "502" && name == "") failure = failure ": the program broke the connection, or its pod went away"

  answers += !exited
  if (exited) silent += exited != 28 ? 1 : yet || answers ? 3 : 5
  rehearsed += headers["x-rehearsal"] != ""
  asked = clock[curl] + 0
  clock[curl] += 1000 * time > gap ? 1000 * time : gap
  if (name != "" && (!(name in woke) || asked + 1000 * time < woke[name])) woke[name] = asked + 1000 * time
  if (failure != "" || within == "" || time <= within + 0) {
    count(1, "answer", name, headers["x-pod"], failure)
  } else { # which can be judged only when the first answers of all curls are known
    slow_name[++slow] = name
    slow_pod[slow] = headers["x-pod"]
    slow_asked[slow] = asked
    slow_took[slow] = time
  }
}

# judge tells an answer that took too long from one of a revision that was not awake yet when it was asked for.
function judge(name, pod, asked, took) {
  if (!alone && name in woke && asked < woke[name]) {
    if (took > cold[name] + 0) cold[name] = took
    count(1, "answer", name, pod, "")
  } else {
    count(1, "answer", name, pod, "took longer than " within " s" (name == "" ? ", which names no revision" : " from " name))
  }
}
