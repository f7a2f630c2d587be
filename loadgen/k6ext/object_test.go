package k6ext_test

import (
	"testing"

	"github.com/weir-build/weir/loadgen/fake"
)

// TestObjectsAreThoseOfJavaScript: their properties are made late, which no script can
// tell.
func TestObjectsAreThoseOfJavaScript(t *testing.T) {
	s := newScript(t, fake.Config{})
	s.run(`
		const client = new reapi.Client(target), corpus = new reapi.Corpus({count: 3});
		const same = (what, got, want) => { if (JSON.stringify(got) !== JSON.stringify(want)) throw what + ": " + JSON.stringify(got) };
		same("module", Object.keys(reapi).sort(), ["Client", "Corpus", "FakeServer", "pace", "runScenario", "scenario"]);
		same("corpus", Object.keys(corpus), ["all", "pick", "take"]);
		if (reapi.Client !== reapi.Client || client.execute !== client.execute) throw "each use is another function";
		if (!("upload" in client) || "uploads" in client || client.uploads !== undefined) throw "in";
		if (typeof client.close !== "function" || typeof reapi.Client !== "function") throw "typeof";
		if (new reapi.Client(target).execute === client.execute) throw "two clients share a method";
		const { take } = corpus; // bound to its corpus
		if (!(client instanceof reapi.Client) || !(corpus instanceof reapi.Corpus) || client instanceof reapi.Corpus || !(new reapi.FakeServer() instanceof reapi.FakeServer)) throw "instanceof";
		class Mine extends reapi.Corpus { two() { return this.take(2).count } }
		const mine = new Mine({count: 3});
		if (mine.two() !== 2 || !(mine instanceof Mine) || !(mine instanceof reapi.Corpus)) throw "a class that extends one of ours";
		same("spread", {...corpus}.take(1).count, 1);
		same("JSON", corpus, {});
		same("take", [take(2).count, corpus.all().count, corpus.pick().count], [2, 3, 1]);
		let failure = "";
		try { corpus.take(-1) } catch (e) { failure = String(e) }
		if (!failure.includes("take(-1): want from 0")) throw "take(-1): " + failure;
		(() => { "use strict"; try { client.execute = 1; throw "changed" } catch (e) { if (!(e instanceof TypeError)) throw e } })();`)
}
