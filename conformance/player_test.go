package conformance

import (
	"encoding/json"
	"net/url"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/mediaservices/armmediaservices/v3"
	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

// TestPlayers plays an encoded video to its end in Chromium, across origins, with the players of the web.
func TestPlayers(t *testing.T) {
	t.Parallel()
	chromium, err := exec.LookPath("chromium")
	if err != nil {
		t.Fatalf("Chromium is missing; run: tools/install.sh chromium (%v)", err)
	}
	st := newStudio(t, start(t), "players")
	check(t, st.submit(t, "encode", "second", "m.mp4", "other"))
	if j := st.await(t, "encode", "second", time.Minute); *j.State != armmediaservices.JobStateFinished {
		t.Fatalf("the job: %s", describe(j))
	}
	secret := []byte(strings.Repeat("s", 32))
	policies, err := armmediaservices.NewContentKeyPoliciesClient(st.sub, st.Admin, st.options())
	check(t, err)
	_, err = policies.CreateOrUpdate(t.Context(), st.group, st.name, "viewers", tokenPolicy(secret), nil)
	check(t, err)
	clear, _ := st.locator(t, "players-clear", armmediaservices.StreamingLocatorProperties{
		AssetName: to.Ptr("other"), StreamingPolicyName: to.Ptr("Predefined_ClearStreamingOnly"),
	})
	protected, _ := st.locator(t, "players-protected", armmediaservices.StreamingLocatorProperties{
		AssetName: to.Ptr("other"), StreamingPolicyName: to.Ptr("Predefined_ClearKey"), DefaultContentKeyPolicyName: to.Ptr("viewers"),
	})
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.HS256, Key: secret}, (&jose.SignerOptions{}).WithType("JWT"))
	check(t, err)
	token, err := jwt.Signed(signer).Claims(jwt.Claims{
		Issuer: "https://i", Audience: jwt.Audience{"a"}, NotBefore: jwt.NewNumericDate(time.Now().Add(-time.Minute)), Expiry: jwt.NewNumericDate(time.Now().Add(time.Hour)),
	}).Serialize()
	check(t, err)
	withToken := protected + "?token=" + url.QueryEscape(token)
	dash := strings.Replace(clear, "m3u8-cmaf", "mpd-time-cmaf", 1)

	type stream struct {
		Name    string `json:"name"`
		Player  string `json:"player"`
		URL     string `json:"url"`
		refused string // what the player's error mentions
	}
	streams := []stream{
		{"hls.js, HLS", "hls.js", clear, ""},
		{"hls.js, AES-128 with a token", "hls.js", withToken, ""},
		{"hls.js, AES-128 without a token", "hls.js", protected, "keyLoadError 403"},
		{"Shaka, HLS", "shaka", clear, ""},
		{"Shaka, AES-128 with a token", "shaka", withToken, ""},
		{"Shaka, AES-128 without a token", "shaka", protected, "403"},
		{"Shaka, DASH", "shaka", dash, ""},
		{"dash.js, DASH", "dash.js", dash, ""},
	}
	arg, err := json.Marshal(streams)
	check(t, err)
	f := st.foreign(t)
	program, args := node(t, "players.mjs", string(arg))
	out := f.run(t, []string{"CHROMIUM=" + chromium}, program, args...)
	var played map[string]struct {
		Error                 string
		Time, Duration, Start float64 // seconds
		Frames, Dropped       int
		Width                 int
	}
	if err := json.Unmarshal([]byte(out), &played); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, s := range streams {
		p := played[s.Name]
		t.Logf("%s: %+v", s.Name, p)
		if s.refused != "" {
			if !strings.Contains(p.Error, s.refused) || p.Frames != 0 {
				t.Errorf("%s: %+v, want an error that mentions %q", s.Name, p, s.refused)
			}
			continue
		}
		// 6 s at 25 frames a second; the first frame stands at 0, which takes an edit list where frames are reordered
		if p.Error != "" || p.Duration < 5.95 || p.Duration > 6.1 || p.Time < 5.95 || p.Start != 0 || p.Frames < 140 || p.Width == 0 {
			t.Errorf("%s: %+v", s.Name, p)
		}
	}
}
