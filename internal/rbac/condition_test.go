package rbac

import (
	"errors"
	"strings"
	"testing"
	"time"
)

const (
	containerName = "Microsoft.Storage/storageAccounts/blobServices/containers:name"
	blobPath      = "Microsoft.Storage/storageAccounts/blobServices/containers/blobs:path"
	blobTags      = "Microsoft.Storage/storageAccounts/blobServices/containers/blobs/tags"
	blobRead      = "Microsoft.Storage/storageAccounts/blobServices/containers/blobs/read"
	blobWrite     = "Microsoft.Storage/storageAccounts/blobServices/containers/blobs/write"
)

// readOf asks to read the blob logs/a.txt in the container 'blobs', tagged Project=Cascade.
func readOf(subOperation string) Query {
	return Query{Action: blobRead, Data: true, Attributes: Attributes{
		SubOperation: subOperation,
		Resource: map[string][]string{
			containerName: {"blobs"}, blobPath: {"logs/a.txt"}, blobTags + ":Project": {"Cascade"}, "none": {}, "size": {"15"}, "word": {"x"},
			"colours": {"red", "blue"}, "numbers": {"10", "20"}, "on": {"true"}, "id": {"5E467623-BB1F-42F4-A55D-6E525E11384B"}, "since": {"2022-06-01T12:00:00Z"},
		},
		Request:     map[string][]string{"prefix": {"logs/"}},
		Principal:   map[string][]string{"Microsoft.Directory/CustomSecurityAttributes/Id:Team_Project": {"Cascade"}},
		Environment: map[string][]string{"isPrivateLink": {"false"}},
	}}
}

func TestCondition(t *testing.T) {
	t.Parallel()
	const read, write = "ActionMatches{'" + blobRead + "'}", "ActionMatches{'" + blobWrite + "'}"
	for _, c := range []struct {
		condition string
		want      truth
	}{
		{read, isTrue},
		{write, isFalse},
		{"actionmatches{'MICROSOFT.Storage/*/Read'}", isTrue},
		{"ActionMatches{'a', '*/read'}", isTrue},
		{"!" + read, isFalse},
		{"NOT " + write, isTrue},
		{"!!" + read, isTrue},
		{"SubOperationMatches{'Blob.List'}", isTrue},
		{"SubOperationMatches{'Blob.Write.*'}", isFalse},
		{"@Request[subOperation] ForAnyOfAnyValues:StringEqualsIgnoreCase {'blob.list'}", isTrue},
		{"!(" + read + " AND NOT SubOperationMatches{'Blob.List'})", isTrue},

		{"@Resource[" + containerName + "] StringEquals 'blobs'", isTrue},
		{"@resource[ " + strings.ToLower(containerName) + " ] stringequals 'blobs'", isTrue},
		{"'blobs' StringEquals @Resource[" + containerName + "]", isTrue},
		{"@Resource[" + containerName + "] StringEquals 'Blobs'", isFalse},
		{"@Resource[" + containerName + "] StringEqualsIgnoreCase 'Blobs'", isTrue},
		{"@Resource[" + containerName + "] StringNotEquals 'Blobs'", isTrue},
		{"@Resource[" + containerName + "] StringNotEqualsIgnoreCase 'Blobs'", isFalse},
		{"@Resource[" + containerName + "] StringEquals {'blobs'}", isTrue},
		{"@Resource[" + blobPath + "] StringStartsWith 'logs/'", isTrue},
		{"@Resource[" + blobPath + "] StringStartsWith 'LOGS/'", isFalse},
		{"@Resource[" + blobPath + "] StringStartsWithIgnoreCase 'LOGS/'", isTrue},
		{"@Resource[" + blobPath + "] StringNotStartsWith 'logs/'", isFalse},
		{"@Resource[" + blobPath + "] StringLike 'logs/*.txt'", isTrue},
		{"@Resource[" + blobPath + "] StringLike 'logs/?.txt'", isTrue},
		{"@Resource[" + blobPath + "] StringLike 'logs/??.txt'", isFalse},
		{"@Resource[" + blobPath + "] StringLike 'logs/\\*'", isFalse},
		{"@Resource[" + blobPath + "] StringNotLike 'logs/*'", isFalse},
		{"@Resource[" + blobPath + "] StringLikeIgnoreCase 'LOGS/*'", isTrue},
		{"@Request[prefix] StringEquals 'logs/'", isTrue},
		{"@Principal[Microsoft.Directory/CustomSecurityAttributes/Id:Team_Project] StringEquals @Resource[" + blobTags + ":Project<$key_case_sensitive$>]", isTrue},
		{"@Resource[" + blobTags + ":Project<$key_case_sensitive$>] StringEquals 'Cascade'", isTrue},
		{"@Resource[" + blobTags + ":project<$key_case_sensitive$>] StringEquals 'Cascade'", isUnknown},
		{"@Resource[" + blobTags + ":project] StringEquals 'Cascade'", isTrue},

		{"@Resource[size] NumericEquals 15", isTrue},
		{"@Resource[size] NumericNotEquals 15", isFalse},
		{"@Resource[size] NumericLessThan 15", isFalse},
		{"@Resource[size] NumericLessThanEquals 15", isTrue},
		{"@Resource[size] NumericGreaterThan -1", isTrue},
		{"@Resource[size] NumericGreaterThanEquals 16", isFalse},
		{"@Resource[word] NumericNotEquals 15", isUnknown},
		{"@Resource[since] DateTimeEquals '2022-06-01T14:00:00.0+02:00'", isTrue},
		{"@Resource[since] DateTimeNotEquals '2022-06-01T12:00:00Z'", isFalse},
		{"@Resource[since] DateTimeLessThan '2022-06-01T12:00:00.0000001Z'", isTrue},
		{"@Environment[UtcNow] DateTimeGreaterThan '2022-06-01T00:00:00.0Z'", isTrue},
		{"@Environment[utcnow] DateTimeLessThanEquals '2022-06-01T00:00:00.0Z'", isFalse},
		{"@Environment[isPrivateLink] BoolEquals true", isFalse},
		{"@Environment[isPrivateLink] BoolNotEquals 'true'", isTrue},
		{"@Resource[on] BoolEquals TRUE", isTrue},
		{"@Resource[word] BoolEquals true", isUnknown},
		{"@Resource[id] GuidEquals 5e467623-bb1f-42f4-a55d-6e525e11384b", isTrue},
		{"@Resource[id] GuidNotEquals '5e467623-bb1f-42f4-a55d-6e525e11384b'", isFalse},
		{"@Resource[id] ForAnyOfAnyValues:GuidEquals {a795c7a0-d4a2-40c1-ae25-d81f01202912, 5e467623-bb1f-42f4-a55d-6e525e11384b}", isTrue},

		// The documentation's examples of cross products.
		{"{'red', 'blue'} ForAnyOfAnyValues:StringEquals {'blue', 'green'}", isTrue},
		{"{'red', 'blue'} ForAnyOfAnyValues:StringEquals {'orange', 'green'}", isFalse},
		{"{'red', 'blue'} ForAllOfAnyValues:StringEquals {'orange', 'red', 'blue'}", isTrue},
		{"{'red', 'blue'} ForAllOfAnyValues:StringEquals {'red', 'green'}", isFalse},
		{"{10, 20} ForAnyOfAllValues:NumericLessThan {15, 18}", isTrue},
		{"{10, 20} ForAllOfAllValues:NumericLessThan {5, 15, 18}", isFalse},
		{"{10, 20} ForAllOfAllValues:NumericLessThan {25, 30}", isTrue},
		{"{10, 20} ForAllOfAllValues:NumericLessThan {15, 25, 30}", isFalse},
		{"@Resource[colours] ForAllOfAnyValues:StringEquals {'orange', 'red', 'blue'}", isTrue},
		{"@Resource[numbers] ForAnyOfAllValues:NumericLessThan {15, 18}", isTrue},
		{"@Resource[colours] StringEquals 'red'", isUnknown},

		// What is not known is never true, however it is turned.
		{"@Resource[unknown] StringEquals 'x'", isUnknown},
		{"@Resource[unknown] StringNotEquals 'x'", isUnknown},
		{"!(@Resource[unknown] StringEquals 'x')", isUnknown},
		{"Exists @Resource[unknown]", isUnknown},
		{"NOT Exists @Resource[unknown]", isUnknown},
		{"@Resource[unknown] ForAllOfAnyValues:StringEquals {'x'}", isUnknown},
		{"@Resource[unknown] StringEquals 'x' OR " + read, isTrue},
		{"@Resource[unknown] StringEquals 'x' OR " + write, isUnknown},
		{"@Resource[unknown] StringEquals 'x' AND " + read, isUnknown},
		{"@Resource[unknown] StringEquals 'x' AND " + write, isFalse},
		{"@Request[" + containerName + "] StringEquals 'blobs'", isUnknown},
		// What is known not to exist.
		{"Exists @Resource[none]", isFalse},
		{"NOT Exists @Resource[none]", isTrue},
		{"Exists @Resource[" + blobPath + "]", isTrue},
		{"@Resource[none] StringNotEquals 'x'", isUnknown},
		{"@Resource[none] ForAllOfAllValues:StringNotEquals {'x'}", isUnknown},

		{"(" + write + " && " + read + ") || " + read, isTrue},
		{read + " or (" + write + " and " + write + ")", isTrue},
	} {
		e, err := parseCondition(c.condition)
		if err != nil {
			t.Errorf("%s: %v", c.condition, err)
			continue
		}
		q := readOf("Blob.List")
		if got := e(newRequest(&q)); got != c.want {
			t.Errorf("%s: got %d, want %d", c.condition, got, c.want)
		}
	}
}

// TestConditionForAction holds a condition of the documented form: it binds the action it names and no other.
func TestConditionForAction(t *testing.T) {
	t.Parallel()
	e, err := parseCondition(`
(
 (
  !(ActionMatches{'` + blobRead + `'} AND NOT SubOperationMatches{'Blob.List'})
 )
 OR
 (
  @Resource[` + containerName + `] StringEquals 'blobs'
  AND
  @Resource[` + blobPath + `] StringLike 'readonly/*'
 )
)`)
	if err != nil {
		t.Fatal(err)
	}
	list, write, other := readOf("Blob.List"), readOf(""), readOf("")
	write.Action = blobWrite
	other.Attributes.Resource[blobPath] = []string{"readonly/b"}
	read := readOf("")
	for _, c := range []struct {
		name string
		q    Query
		want bool
	}{{"read elsewhere", read, false}, {"read there", other, true}, {"list", list, true}, {"write", write, true}, {"nothing known", Query{Action: blobRead}, false}} {
		if got := e.met(newRequest(&c.q)); got != c.want {
			t.Errorf("%s: got %v, want %v", c.name, got, c.want)
		}
	}
}

func TestConditionFaults(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		condition string
		position  int
		fault     string
	}{
		{"", 1, "an attribute or a value is expected, not the end"},
		{"()", 2, "not ')'"},
		{"(ActionMatches{'a'}", 20, "')' is expected, not the end"},
		{"ActionMatches{'a'} ActionMatches{'b'}", 20, "AND, OR or the end is expected, not 'ActionMatches'"},
		{"ActionMatches{'a'} AND", 23, "not the end"},
		{"ActionMatches 'a'", 15, "'{' is expected, not ''a''"},
		{"ActionMatches{a}", 15, "a pattern is text in single quotes"},
		{"ActionMatches{'*a*b*c*'}", 15, "at most three wildcards"},
		{"ActionMatches{'a' 'b'}", 19, "'}' is expected"},
		{"ActionMatches{}", 15, "a value is expected, not '}'"},
		{"ActionMatches{'a'} AND ActionMatches{'b'} OR ActionMatches{'c'}", 43, "parentheses must say"},
		{"@Resource[a StringEquals 'x'", 1, "no closing ']'"},
		{"@Resource[] StringEquals 'x'", 1, "no name"},
		{"@Subject[a] StringEquals 'x'", 1, "an attribute is @Resource[...]"},
		{"@Resource[a] StringEquals 'x", 27, "no closing quote"},
		{"@Resource[a] 'x'", 14, "an operator is expected"},
		{"@Resource[a] StringIs 'x'", 14, "'StringIs' is not an operator"},
		{"@Resource[a] NumericEqualsIgnoreCase 1", 14, "not an operator"},
		{"@Resource[a] ForSomeValues:StringEquals {'x'}", 14, "is not a cross product"},
		{"@Resource[a] StringEquals {'x', 'y'}", 14, "need a cross product, such as ForAnyOfAnyValues:StringEquals"},
		{"@Resource[a] StringEquals x", 27, "StringEquals compares with text in single quotes, not 'x'"},
		{"@Resource[a] NumericEquals '1.5'", 28, "an integer"},
		{"@Resource[a] DateTimeEquals 'yesterday'", 29, "a time such as"},
		{"@Resource[a] BoolEquals maybe", 25, "true or false"},
		{"@Resource[a] ForAnyOfAnyValues:GuidEquals {5e467623-bb1f-42f4-a55d-6e525e11384b, 5e467623}", 82, "a GUID"},
		{"Exists 'a'", 8, "an attribute is expected"},
		{"NOT", 4, "not the end"},
		{"'ä' = 'b'", 5, "'=' has no meaning here"},
		{strings.Repeat("(", 60), 51, "nested deeper"},
		{strings.Repeat("!", 60), 51, "nested deeper"},
		{strings.Repeat(" ", maxCondition+1), 1, "8193 bytes"},
	} {
		_, err := parseCondition(c.condition)
		var fault *conditionError
		if !errors.As(err, &fault) || fault.position != c.position || !strings.Contains(fault.fault, c.fault) {
			t.Errorf("%s: got %v, want position %d: %s", c.condition, err, c.position, c.fault)
		}
	}
}

// FuzzCondition checks that no condition makes the parser or a decision fail, that a negation is not met along with what
// it negates, and that nothing is true that rests on what is not known.
func FuzzCondition(f *testing.F) {
	for _, d := range builtins {
		for _, p := range d.Permissions {
			f.Add(p.Condition)
		}
	}
	for _, s := range []string{
		"!(ActionMatches{'a/*'} AND SubOperationMatches{'Blob.List'}) OR @Resource[" + blobTags + ":Project<$key_case_sensitive$>] StringLikeIgnoreCase '*\\*?'",
		"{10, 20} ForAnyOfAllValues:NumericLessThan {15, 18} && Exists @Request[a]",
		"@Environment[UtcNow] DateTimeGreaterThan '2022-06-01T00:00:00.0Z' || @Environment[isPrivateLink] BoolEquals true",
		"@Principal[a:b] ForAllOfAnyValues:GuidNotEquals {5e467623-bb1f-42f4-a55d-6e525e11384b}",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, condition string) {
		e, err := parseCondition(condition)
		if err != nil {
			var fault *conditionError
			if !errors.As(err, &fault) || fault.position < 1 || fault.position > len(condition)+1 {
				t.Fatalf("%q: %v", condition, err)
			}
			return
		}
		full, nothing := readOf("Blob.List"), Query{Action: blobRead, Data: true, Attributes: Attributes{SubOperation: "Blob.List"}}
		now := time.Now()
		requests := [2]*request{newRequest(&nothing), newRequest(&full)}
		var got [2]truth
		for i, r := range requests {
			r.now = now
			got[i] = e(r)
			if not(e)(r) != got[i].not() || e.met(r) && not(e).met(r) {
				t.Fatalf("%q and its negation are both met", condition)
			}
		}
		if got[0] != isUnknown && got[0] != got[1] {
			t.Fatalf("%q is %d when nothing is known and %d when something is", condition, got[0], got[1])
		}
	})
}

// A condition that a later version cannot read any more must not turn into none.
func TestStoredConditionUnreadable(t *testing.T) {
	t.Parallel()
	q := readOf("")
	if e := stored("not a condition"); e == nil || e.met(newRequest(&q)) || not(e).met(newRequest(&q)) {
		t.Error("a condition that cannot be read is met, or its negation is")
	}
}
