package analysis_test

import (
	"bytes"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-build/weir/traces/analysis"
	"github.com/weir-build/weir/traces/build"
	"github.com/weir-build/weir/traces/semconv"
)

// changed is mixed on another day: //a was cached and //d no longer is, //b was
// faster and has another digest, //c slower, //f succeeded, //g and //h are gone,
// and //i is new.
func changed() *script {
	s := &script{name: "changed", end: 3000}
	s.hit("CppCompile", "//a", 0, 10)
	b := s.ran("CppCompile", "//b", "w-1", 0, 0, 10, 100, 900, 990, 1000)
	b.Attributes[2] = build.Text(semconv.AttrActionDigest, digestOf("//b with other inputs"))
	s.ran("CppLink", "//c", "w-2", 0, 0, 20, 100, 2200, 2280, 2300)
	s.ran("CppLink", "//d", "w-1", 1000, 1000, 1010, 1020, 1400, 1490, 1500)
	s.joined("CppLink", "//e", 2000, 2800)
	s.ran("TestRunner", "//f", "w-2", 2300, 2300, 2310, 2320, 2700, 2790, 2800)
	s.ran("TestRunner", "//i", "w-1", 2300, 2300, 2310, 2320, 2400, 2490, 2500)
	return s
}

func compared(t *testing.T, top int) analysis.Diff {
	a, b := &analysis.Run{Name: "runs/a"}, &analysis.Run{Name: "runs/b"}
	a.Add(mixed().tree(t))
	b.Add(changed().tree(t))
	return analysis.Compare(a, b, top)
}

func TestCompare(t *testing.T) {
	d := compared(t, 0)
	if d.ByDigest != 5 || d.ByName != 1 {
		t.Errorf("matched %d by digest and %d by name, want 5 and 1", d.ByDigest, d.ByName)
	}
	names := func(p analysis.Pairs) (list []string) {
		for _, x := range p.Top {
			list = append(list, x.A.Target+" "+x.Change.String()+" "+x.Stage)
		}
		return list
	}
	for what, c := range map[string]struct {
		pairs analysis.Pairs
		want  []string
	}{
		// Of //c, executing took 1400 ms longer, the queue and the lost attempt each 500 less.
		"slower":           {d.Slower, []string{"//c 300ms execute"}},
		"faster":           {d.Faster, []string{"//b -1.00s queued"}},
		"newly cached":     {d.NewlyCached, []string{"//a -990ms execute"}},
		"no longer cached": {d.NoLongerCached, []string{"//d 490ms execute"}},
		"other result":     {d.OtherResult, []string{"//f 0 "}},
	} {
		if got := names(c.pairs); !cmp.Equal(got, c.want) || c.pairs.Count != len(c.want) {
			t.Errorf("%s: got %v of %d, want %v", what, got, c.pairs.Count, c.want)
		}
	}
	if d.OnlyA.Count != 2 || d.OnlyB.Count != 1 || d.OnlyB.Top[0].Target != "//i" || time.Duration(d.OnlyA.Total) != ms(500) {
		t.Errorf("only in A: %+v, in B: %+v", d.OnlyA, d.OnlyB)
	}
	if d.A.Seconds.String() != "4.00s" || d.B.Seconds.String() != "3.00s" || time.Duration(d.A.Worker) != ms(3900) {
		t.Errorf("got %+v and %+v", d.A, d.B)
	}
	if k := d.Mnemonics[0]; k.Name != "CppLink" || k.ActionsA != 3 || time.Duration(k.WorkerA) != ms(1460) || time.Duration(k.WorkerB) != ms(2260+480) {
		t.Errorf("got %+v", d.Mnemonics)
	}
}

// Equal actions are paired in their order.
func TestCompareRepeatedActions(t *testing.T) {
	of := func(lengths ...int) *analysis.Run {
		s := &script{end: 1000}
		for i, n := range lengths {
			s.hit("A", "//x", i, i+n)
		}
		r := &analysis.Run{}
		r.Add(s.tree(t))
		return r
	}
	d := analysis.Compare(of(100, 100), of(100, 150, 7), 0)
	if d.ByDigest != 2 || d.Slower.Count != 1 || time.Duration(d.Slower.Total) != ms(50) || d.OnlyB.Count != 1 || time.Duration(d.OnlyB.Total) != ms(7) {
		t.Errorf("got %+v", d)
	}
}

func TestWriteDiff(t *testing.T) {
	var out bytes.Buffer
	if err := analysis.WriteDiff(&out, compared(t, 1)); err != nil {
		t.Fatal(err)
	}
	golden(t, "diff.txt", out.Bytes())
}
