# Counts answers, draws them as a table, and judges them by the traffic expected.
#
# In, the traffic first:
#   traffic|REVISION|TAG|PERCENT        what is expected
#   problem|WORDS                       why the shares cannot be judged
#   answer|COUNT|REVISION|POD|FAILURE   answers that are alike; FAILURE is empty if there is none
#   before|COUNT|REVISION|POD|FAILURE   likewise, before the traffic changed: only their failures matter
#   cold|REVISION|SECONDS               how long its first answers took, if that was too long
#   rehearsed|COUNT                     answers of a rehearsal
# Variables: want is "enough" for the number of requests that the traffic needs, "table" for one that fits a terminal of
# lines and columns, and for all there is to say the way in which it ended, if that was too early. requests is how many
# are to be sent; failures_of, allow and within are as in run-test.sh; cluster tells if there is a column of tags; header
# (that names the revision) and advice (where nothing answers) are for the words.
# Exits with 1 if something is wrong; after a table, if more requests have failed than can pass, whatever comes.
BEGIN { FS = "|"; name_width = 8; tag_width = 3 }

$1 == "traffic" {
  known = row($2)
  weight[$2] += $4
  if ($3 != "") tags[$2] = tags[$2] (tags[$2] == "" ? "" : ",") $3
  if (length(tags[$2]) > tag_width) tag_width = length(tags[$2])
}
$1 == "problem" && problem == "" { problem = substr($0, 9) }
$1 == "cold" { cold[$2] = $3 }
$1 == "rehearsed" { rehearsed = $2 }
$1 == "answer" {
  row($3)
  name = $3 in weight ? $3 : ""
  total += $2
  count[name] += $2
  if ($5 != "") any_failed = failed[name] += $2
  if ($4 != "" && !met[$3, $4]++) any_pods = ++pods[name]
}
$1 == "answer" || $1 == "before" {
  sent += $2
  if ($5 !~ /^no answer/) reached = 1
  counts = failures_of == "" || $3 "" == failures_of "" || $3 == "" && $5 != "" # "" makes 00001 another name than 1
  if (counts) concerned += $2
  if (counts && $5 != "") failures += $2
  if ($5 != "") tell("requests failed: " $5 (counts ? "" : ", which does not count"), $2)
  else if ($3 == "") unnamed = tell("answers name no revision in the header " header, $2)
  else if ($1 == "answer" && name == "") unnamed = tell("answers name more revisions than this table shows", $2)
}

END {
  if (known == 1) weight[order[1]] = 100 # of what is sent to its tag
  limit = 0.00005 / (known ? known : 1)
  for (i = 1; i <= known; i++) {
    percent = weight[order[i]]
    if (percent > 0 && percent < 100 && (!least || percent < least)) least = percent
  }
  for (nothing = 1; least && nothing > limit; enough++) nothing *= 1 - least / 100
  if (want == "enough") print enough + 0
  if (want == "table") { draw(columns); bad = failures > most(in_the_end(), allow / 100) }
  if (want != "table" && want != "enough") verdict()
  exit bad
}

# in_the_end returns how many requests the failures can be of at most: failures of one revision, of its share.
function in_the_end(  all, share) {
  all = concerned + requests - sent
  share = weight[failures_of] ? most(requests, weight[failures_of] / 100) : all
  return share > all ? all : share < concerned ? concerned : share
}

function verdict() {
  if (requests > 1) draw(0)
  if (want == "interrupted" || sent < requests) complain(want " after " sent + 0 " of " requests " requests")
  for (i = 1; i <= kinds; i++) say(times[kind[i]] " of " sent " " kind[i])
  if (unnamed || failures > most(concerned, allow / 100) || failures && failures == concerned && allow < 100) bad = 1
  if (sent && !reached) complain(advice)
  if (rehearsed && cluster) complain(rehearsed " of " sent " answers came from a rehearsal, not from the cluster: set GATEWAY")
  if (problem != "") complain(problem)
  if (known && problem == "" && sent == requests) {
    for (i = 1; i <= rows; i++) judge(order[i], weight[order[i]] / 100)
    if (!bad && requests > 1 && requests < enough) complain("too few requests to see " least "%: " enough " are enough")
  }
  for (name in cold) say(name " took up to " cold[name] " s to answer first, which --within " within " does not judge")
  if (bad || requests == 1) return
  passed = failures ? "more failed than " allow "% explains" : failures_of == "" ? "request failed" : \
    count[failures_of] ? "request of " failures_of " failed" : "answer came from " failures_of
  print "\nok: no " passed (known ? ", and each share fits its percentage" passing : "; no percentages were given")
}

# row gives a revision a row of the table, and returns the number of rows.
function row(name) {
  if (name == "" || name in weight || known && rows >= known + 20 || rows >= 200) return rows
  order[++rows] = name
  weight[name] = count[name] = 0
  if (length(name) > name_width) name_width = length(name)
  return rows
}

function draw(room,  i, name, share, format, line) {
  if (want == "table" && rows + 2 > lines) return
  if (columns) printf "\033[J"
  format = "%-" name_width "s" (cluster ? "  %-" tag_width "s" : "%.0s") (known ? "  %8s" : "%.0s") "  %8s  %5s"
  format = format (any_failed ? "  %6s" : "%.0s") (any_pods ? "  %4s" : "%.0s") "  %s"
  for (i = 0; i <= rows; i++) {
    name = order[i]
    share = total ? count[name] / total : 0
    line = sprintf(format, name, tags[name], weight[name] "%", sprintf("%.1f%%", 100 * share), count[name], \
      failed[name] + 0, pods[name] + 0, substr("##########", 1, int(10 * share + 0.5)))
    if (!i) line = sprintf(format, "REVISION", "TAG", "EXPECTED", "OBSERVED", "COUNT", "FAILED", "PODS", "")
    if (room && length(line) > room) line = substr(line, 1, room + 1)
    sub(room && length(line) > room ? " +[^ ]*$" : " +$", "", line)
    print room ? substr(line, 1, room) : line
  }
  if (room) printf "\033[%dA", rows + 1
}

# judge complains of a share that an honest split has in less than one of 10,000 runs. A request that names no revision
# can be of any.
function judge(name, p,  low, high, fits) {
  low = fewest(total, p)
  high = most(total, p)
  fits = low == high ? 100 * p "% is " low : "chance explains " low " to " high " for " 100 * p "%"
  if (count[name] + count[""] < low || count[name] > high) complain(name " got " count[name] " of " total ", and " fits)
  if (low == high || passes[p]++) return
  passing = passing (passing == "" ? ": " : ", ") sprintf("%.1f%% to %.1f%%", 100 * low / total, 100 * high / total) \
    (passing == "" ? " passes" : "") " for " 100 * p "%"
  gsub(/\.0%/, "%", passing)
}

# fewest returns the smallest number of n requests that chance explains, if each has the probability p: in more than
# 0.00005 of all honest runs there are so few or fewer. All rows share that, and most() has as much: 0.0001 in all.
#
# The bound is exact. The usual one, four standard deviations, is for large numbers: at 99% of 20 requests it takes 2 of
# 1,000 honest runs for wrong, and at 5% of 300 it passes a revision that gets nothing.
#
# That none of them is so has the probability (1-p)^n, and k+1 have that of k times (n-k)/(k+1) * p/(1-p). Since (1-p)^n
# can be too small for a number, its factors come one by one, and the next term is added whenever the sum is too small
# already: with the factors to come it would be smaller still.
function fewest(n, p,  k, left, term, sum) {
  if (p == 1) return n
  term = sum = 1
  for (left = n; left > 0; left--) {
    term *= 1 - p
    for (sum *= 1 - p; sum <= limit; k++) sum += term *= (n - k) / (k + 1) * p / (1 - p)
  }
  return k + 0
}
function most(n, p) { return n - fewest(n, 1 - p) }

function tell(what, n) {
  if (!(what in times)) kind[++kinds] = what
  return times[what] += n
}
function complain(what) { say(what); bad = 1 }
function say(what) { print "run-test.sh: " what | "cat >&2" }
