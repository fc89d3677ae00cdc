package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/authorization/armauthorization/v2"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/mediaservices/armmediaservices/v3"
)

func (s *story) encode(ctx context.Context) error {
	s.title("A transform and a job: a two-rung H.264 ladder")
	err := s.step("transform", func() (string, error) {
		c, err := armmediaservices.NewTransformsClient(s.subscription(), s.admin, s.opts)
		if err != nil {
			return "", err
		}
		_, err = c.CreateOrUpdate(ctx, s.group, s.account, "ladder", armmediaservices.Transform{Properties: &armmediaservices.TransformProperties{
			Outputs: []*armmediaservices.TransformOutput{{Preset: ladder()}},
		}}, nil)
		return "720p at 2400 kb/s, 360p at 700 kb/s, AAC at 128 kb/s", err
	})
	if err != nil {
		return err
	}
	return s.step("job", func() (string, error) {
		c, err := armmediaservices.NewJobsClient(s.subscription(), s.admin, s.opts)
		if err != nil {
			return "", err
		}
		_, err = c.Create(ctx, s.group, s.account, "ladder", "first", armmediaservices.Job{Properties: &armmediaservices.JobProperties{
			Input: &armmediaservices.JobInputAsset{
				ODataType: to.Ptr("#Microsoft.Media.JobInputAsset"), AssetName: to.Ptr("in"), Files: []*string{to.Ptr("source.mp4")},
			},
			Outputs: []armmediaservices.JobOutputClassification{&armmediaservices.JobOutputAsset{
				ODataType: to.Ptr("#Microsoft.Media.JobOutputAsset"), AssetName: to.Ptr("out"),
			}},
		}}, nil)
		if err != nil {
			return "", err
		}
		return "", s.follow(ctx, c)
	})
}

func ladder() *armmediaservices.StandardEncoderPreset {
	layer := func(width, height, label string, bitrate int32) *armmediaservices.H264Layer {
		return &armmediaservices.H264Layer{Width: &width, Height: &height, Label: &label, Bitrate: &bitrate}
	}
	return &armmediaservices.StandardEncoderPreset{
		ODataType: to.Ptr("#Microsoft.Media.StandardEncoderPreset"),
		Codecs: []armmediaservices.CodecClassification{
			&armmediaservices.H264Video{
				ODataType: to.Ptr("#Microsoft.Media.H264Video"), Complexity: to.Ptr(armmediaservices.H264ComplexitySpeed), KeyFrameInterval: to.Ptr("PT2S"),
				Layers: []*armmediaservices.H264Layer{layer("1280", "720", "hd", 2_400_000), layer("640", "360", "sd", 700_000)},
			},
			&armmediaservices.AacAudio{
				ODataType: to.Ptr("#Microsoft.Media.AacAudio"), Bitrate: to.Ptr(int32(128_000)), Channels: to.Ptr(int32(2)), SamplingRate: to.Ptr(int32(48_000)),
				Profile: to.Ptr(armmediaservices.AacAudioProfileAacLc),
			},
		},
		Formats: []armmediaservices.FormatClassification{&armmediaservices.Mp4Format{
			ODataType: to.Ptr("#Microsoft.Media.Mp4Format"), FilenamePattern: to.Ptr("{Basename}_{Label}_{Bitrate}{Extension}"),
		}},
	}
}

// follow waits for the job and draws what it says of its progress.
func (s *story) follow(ctx context.Context, c *armmediaservices.JobsClient) error {
	last := 0
	for {
		r, err := c.Get(ctx, s.group, s.account, "ladder", "first", nil)
		if err != nil {
			return err
		}
		out, ok := r.Properties.Outputs[0].(*armmediaservices.JobOutputAsset)
		if !ok || r.Properties.State == nil {
			return errors.New("the job shows no state")
		}
		if out.Progress != nil && int(*out.Progress) != last {
			s.progress(int(*out.Progress), last)
			last = int(*out.Progress)
		}
		switch *r.Properties.State {
		case armmediaservices.JobStateFinished:
			return nil
		case armmediaservices.JobStateError, armmediaservices.JobStateCanceled:
			if out.Error != nil && out.Error.Message != nil {
				return fmt.Errorf("job %s: %s", *r.Properties.State, *out.Error.Message)
			}
			return fmt.Errorf("job %s", *r.Properties.State)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// locator makes a streaming locator and returns its HLS (CMAF) URL.
func (s *story) locator(ctx context.Context, name string, p armmediaservices.StreamingLocatorProperties, scheme armmediaservices.EncryptionScheme) (string, error) {
	c, err := armmediaservices.NewStreamingLocatorsClient(s.subscription(), s.admin, s.opts)
	if err != nil {
		return "", err
	}
	if _, err := c.Create(ctx, s.group, s.account, name, armmediaservices.StreamingLocator{Properties: &p}, nil); err != nil {
		return "", err
	}
	endpoints, err := armmediaservices.NewStreamingEndpointsClient(s.subscription(), s.admin, s.opts)
	if err != nil {
		return "", err
	}
	endpoint, err := endpoints.Get(ctx, s.group, s.account, "default", nil)
	if err != nil {
		return "", err
	}
	paths, err := c.ListPaths(ctx, s.group, s.account, name, nil)
	if err != nil {
		return "", err
	}
	for _, group := range paths.StreamingPaths {
		if *group.StreamingProtocol != armmediaservices.StreamingPolicyStreamingProtocolHls || *group.EncryptionScheme != scheme {
			continue
		}
		for _, path := range group.Paths {
			if strings.Contains(*path, "m3u8-cmaf") {
				return "https://" + *endpoint.Properties.HostName + *path, nil
			}
		}
	}
	return "", errors.New("the locator lists no HLS (CMAF) path")
}

func (s *story) player() *player { return &player{http: s.srv.HTTPClient(), dir: s.dir} }

// playClear plays the clear locator and checks that nothing is missing.
func (s *story) playClear(ctx context.Context) (played, error) {
	got, err := s.player().play(ctx, s.clearURL)
	if err == nil && got.frames != s.frames {
		err = fmt.Errorf("%d frames were decoded, the source has %d", got.frames, s.frames)
	}
	return got, err
}

func (s *story) stream(ctx context.Context) error {
	s.title("Streaming: HLS (CMAF), packaged on the fly from the encoded files")
	err := s.step("streaming locator, Predefined_ClearStreamingOnly", func() (string, error) {
		var err error
		s.clearURL, err = s.locator(ctx, "clear", armmediaservices.StreamingLocatorProperties{
			AssetName: to.Ptr("out"), StreamingPolicyName: to.Ptr("Predefined_ClearStreamingOnly"),
		}, armmediaservices.EncryptionSchemeNoEncryption)
		return s.clearURL, err
	})
	if err != nil {
		return err
	}
	return s.step("fetch the playlists and every segment; ffprobe counts the frames", func() (string, error) {
		got, err := s.playClear(ctx)
		return fmt.Sprintf("%d segments, %.1f MB\n%s", got.segments, float64(got.bytes)/1e6, strings.Join(got.renditions, "\n")), err
	})
}

func (s *story) protect(ctx context.Context) error {
	s.title("AES-128: the content key is sealed under the account's key and given to bearers of a token")
	secret := make([]byte, 32)
	rand.Read(secret)
	const issuer, audience = "https://demo.example", "reel"
	err := s.step("content key policy (JWT, HS256) and a locator under Predefined_ClearKey", func() (string, error) {
		c, err := armmediaservices.NewContentKeyPoliciesClient(s.subscription(), s.admin, s.opts)
		if err != nil {
			return "", err
		}
		_, err = c.CreateOrUpdate(ctx, s.group, s.account, "viewers", armmediaservices.ContentKeyPolicy{Properties: &armmediaservices.ContentKeyPolicyProperties{
			Options: []*armmediaservices.ContentKeyPolicyOption{{
				Name:          to.Ptr("viewers"),
				Configuration: &armmediaservices.ContentKeyPolicyClearKeyConfiguration{ODataType: to.Ptr("#Microsoft.Media.ContentKeyPolicyClearKeyConfiguration")},
				Restriction: &armmediaservices.ContentKeyPolicyTokenRestriction{
					ODataType: to.Ptr("#Microsoft.Media.ContentKeyPolicyTokenRestriction"),
					Issuer:    to.Ptr(issuer), Audience: to.Ptr(audience), RestrictionTokenType: to.Ptr(armmediaservices.ContentKeyPolicyRestrictionTokenTypeJwt),
					PrimaryVerificationKey: &armmediaservices.ContentKeyPolicySymmetricTokenKey{
						ODataType: to.Ptr("#Microsoft.Media.ContentKeyPolicySymmetricTokenKey"), KeyValue: secret,
					},
				},
			}},
		}}, nil)
		if err != nil {
			return "", err
		}
		s.aesURL, err = s.locator(ctx, "protected", armmediaservices.StreamingLocatorProperties{
			AssetName: to.Ptr("out"), StreamingPolicyName: to.Ptr("Predefined_ClearKey"), DefaultContentKeyPolicyName: to.Ptr("viewers"),
		}, armmediaservices.EncryptionSchemeEnvelopeEncryption)
		return s.aesURL, err
	})
	if err != nil {
		return err
	}
	if s.token, err = signHS256(map[string]any{"iss": issuer, "aud": audience, "nbf": time.Now().Add(-time.Minute).Unix(), "exp": time.Now().Add(time.Hour).Unix()}, secret); err != nil {
		return err
	}
	err = s.step("a player with a token gets the key and decodes", func() (string, error) {
		frames, err := s.playAES(ctx, s.token)
		if err == nil && frames != s.frames {
			err = fmt.Errorf("%d frames were decoded, the source has %d", frames, s.frames)
		}
		return fmt.Sprintf("%d frames, decoded by ffprobe itself", frames), err
	})
	if err != nil {
		return err
	}
	return s.step("one without a token gets 403 and decodes nothing", func() (string, error) {
		keyURL, err := s.keyURL(ctx)
		if err != nil {
			return "", err
		}
		_, err = s.player().get(ctx, keyURL)
		if statusOf(err) != http.StatusForbidden {
			return "", fmt.Errorf("the answer was not 403: %v", err)
		}
		detail := err.Error()
		if frames, err := s.playAES(ctx, ""); err == nil {
			return "", fmt.Errorf("a player without a token decoded %d frames", frames)
		}
		return wrap(detail, 100), nil
	})
}

// playAES lets ffprobe play the protected presentation by itself, through the proxy. It is told to take segments
// whose names have no file extension, as Azure's have none.
func (s *story) playAES(ctx context.Context, token string) (int, error) {
	u := s.aesURL
	if token != "" {
		u += "?token=" + url.QueryEscape(token)
	}
	return countFrames(ctx, u, "v:0", "-http_proxy", "http://"+s.proxy, "-extension_picky", "0", "-allowed_extensions", "ALL")
}

// keyURL returns the key's URL as the first media playlist gives it.
func (s *story) keyURL(ctx context.Context) (string, error) {
	p := s.player()
	text, err := p.get(ctx, s.aesURL)
	if err != nil {
		return "", err
	}
	master, err := parsePlaylist(s.aesURL, text)
	if err != nil {
		return "", err
	}
	if len(master.variants) == 0 {
		return "", errors.New("the master playlist has no variants")
	}
	if text, err = p.get(ctx, master.variants[0].url); err != nil {
		return "", err
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "#EXT-X-KEY:"); ok {
			return attribute(strings.TrimSpace(rest), "URI"), nil
		}
	}
	return "", errors.New("the media playlist names no key")
}

// everyPath tries what a customer and a viewer do and returns who was refused.
func (s *story) everyPath(ctx context.Context) map[string]error {
	transforms, err := armmediaservices.NewTransformsClient(s.subscription(), s.admin, s.opts)
	if err != nil {
		return map[string]error{"client": err}
	}
	_, err = transforms.Get(ctx, s.group, s.account, "ladder", nil)
	out := map[string]error{"transform GET": err}
	_, out["streaming"] = s.player().get(ctx, s.clearURL)
	keyURL, err := s.keyURL(ctx)
	if err == nil {
		_, err = s.player().get(ctx, keyURL+"&token="+url.QueryEscape(s.token))
	}
	out["key delivery"] = err
	jobs, err := armmediaservices.NewJobsClient(s.subscription(), s.admin, s.opts)
	if err == nil {
		_, err = jobs.Get(ctx, s.group, s.account, "ladder", "first", nil)
	}
	out["job GET"] = err
	return out
}

func (s *story) revoke(ctx context.Context) error {
	s.title("The customer takes the grant on the key away, and puts it back")
	roles, err := armauthorization.NewRoleAssignmentsClient(s.subscription(), s.admin, s.opts)
	if err != nil {
		return err
	}
	err = s.step("the grant goes; every path is refused with 403", func() (string, error) {
		if _, err := roles.Delete(ctx, s.vaultID, s.keyGrant, nil); err != nil {
			return "", err
		}
		took, err := eventually(ctx, 5*time.Second, func() error {
			for path, err := range s.everyPath(ctx) {
				if statusOf(err) != http.StatusForbidden {
					return fmt.Errorf("%s answered %v", path, err)
				}
			}
			return nil
		})
		return fmt.Sprintf("refused after %s: %s", round(took), strings.Join(pathNames(s.everyPath(ctx)), ", ")), err
	})
	if err != nil {
		return err
	}
	err = s.step("GET of the account still answers, and says why", func() (string, error) {
		a, err := s.accountState(ctx)
		if err != nil {
			return "", err
		}
		if a.Properties.Encryption == nil || a.Properties.Encryption.Status == nil {
			return "", errors.New("encryption.status is missing")
		}
		return wrap(*a.Properties.Encryption.Status, 100), nil
	})
	if err != nil {
		return err
	}
	return s.step("the grant returns; everything plays again", func() (string, error) {
		if s.keyGrant, err = s.assign(ctx, s.vaultID, roleCryptoService, s.principal); err != nil {
			return "", err
		}
		took, err := eventually(ctx, 10*time.Second, func() error {
			for path, err := range s.everyPath(ctx) {
				if err != nil {
					return fmt.Errorf("%s: %w", path, err)
				}
			}
			return nil
		})
		if err != nil {
			return "", err
		}
		got, err := s.playClear(ctx)
		return fmt.Sprintf("back after %s; %d frames play", round(took), got.frames), err
	})
}

func pathNames(m map[string]error) []string {
	var names []string
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

func (s *story) rotate(ctx context.Context) error {
	s.title("A new version of the customer's key")
	return s.step("the account's key is wrapped again, by the new version", func() (string, error) {
		version, err := s.createKey(ctx)
		if err != nil {
			return "", err
		}
		took, err := eventually(ctx, 60*time.Second, func() error {
			current, err := s.currentKey(ctx)
			if err == nil && current != version {
				err = fmt.Errorf("currentKeyIdentifier is still %s", current)
			}
			return err
		})
		if err != nil {
			return "", err
		}
		frames, err := s.playAES(ctx, s.token)
		if err == nil && frames != s.frames {
			err = fmt.Errorf("%d frames were decoded, the source has %d", frames, s.frames)
		}
		return fmt.Sprintf("after %s: currentKeyIdentifier %s\nthe protected video plays on: %d frames", round(took), version, frames), err
	})
}
