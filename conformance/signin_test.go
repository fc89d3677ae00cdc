package conformance

import (
	"bufio"
	"context"
	"html"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/authorization/armauthorization/v2"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/resources/armresources"
	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/confidential"
	"github.com/AzureAD/microsoft-authentication-library-for-go/apps/public"
	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"
)

const (
	azureCLIClient = "04b07795-8ddb-461a-bbee-02f9e1bf7b46"
	webRedirect    = "https://web.example/cb"
)

const armResource = "797f4846-ba00-4fd7-ba43-dac1f8f63013" // the application id of Azure Resource Manager

// permit lets an application act as a user, or as any user, at a resource, as "az ad app permission grant" does. It returns
// the id of the grant.
func (s *server) permit(t testing.TB, app *application, resource, userID string) string {
	t.Helper()
	sp := s.graph(t, "GET", "servicePrincipals(appId='"+resource+"')", nil, http.StatusOK)
	grant := map[string]any{"clientId": app.principal, "resourceId": sp["id"], "consentType": "AllPrincipals", "scope": "user_impersonation"}
	if userID != "" {
		grant["consentType"], grant["principalId"] = "Principal", userID
	}
	return s.graph(t, "POST", "oauth2PermissionGrants", grant, http.StatusCreated)["id"].(string)
}

// person is a user of the tenant, with a browser that has no scripts.
type person struct {
	name, password, id string
	server             *server
	browser            *http.Client
}

// person makes a user, with a role on the subscription.
func (s *server) person(t testing.TB, name, role string) *person {
	t.Helper()
	p := &person{name: name + "@example.org", password: "Correct horse " + uuid.NewString(), server: s}
	made := s.graph(t, "POST", "users", map[string]any{
		"displayName": "Ada Lovelace", "userPrincipalName": p.name, "mailNickname": name, "accountEnabled": true,
		"passwordProfile": map[string]any{"password": p.password, "forceChangePasswordNextSignIn": false},
	}, http.StatusCreated)
	p.id = made["id"].(string)
	s.assign(t, "/subscriptions/"+s.sub, role, p.id, func(r *armauthorization.RoleAssignmentProperties) {
		r.PrincipalType = to.Ptr(armauthorization.PrincipalTypeUser)
	})
	p.fresh(t)
	return p
}

// fresh gives the person a browser without cookies.
func (p *person) fresh(t testing.TB) {
	t.Helper()
	jar, err := cookiejar.New(nil)
	check(t, err)
	p.browser = p.server.HTTPClient()
	p.browser.Jar = jar
	p.browser.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
}

var (
	formAction  = regexp.MustCompile(`<form method="post" action="([^"]*)">`)
	hiddenField = regexp.MustCompile(`<input type="hidden" name="([^"]*)" value="([^"]*)">`)
)

// page reads an answer.
func page(t testing.TB, resp *http.Response, err error) (*http.Response, string) {
	t.Helper()
	check(t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	check(t, err)
	return resp, string(body)
}

// submit fills the last form of a page in.
func (p *person) submit(t testing.TB, body string, fill ...string) (*http.Response, string) {
	t.Helper()
	at := strings.LastIndex(body, "<form")
	if at < 0 {
		t.Fatalf("no form in %s", body)
	}
	fields := url.Values{}
	for _, m := range hiddenField.FindAllStringSubmatch(body[at:], -1) {
		fields.Add(m[1], html.UnescapeString(m[2]))
	}
	for i := 0; i+1 < len(fill); i += 2 {
		fields.Set(fill[i], fill[i+1])
	}
	resp, err := p.browser.PostForm(p.server.URLs().Login()+html.UnescapeString(formAction.FindStringSubmatch(body[at:])[1]), fields)
	return page(t, resp, err)
}

// signIn follows a sign-in link and returns the address and the parameters with which the browser is sent back to the
// application in the end, and whether that is a form (response_mode=form_post).
func (p *person) signIn(t testing.TB, link string) (back *url.URL, params url.Values, form bool) {
	t.Helper()
	got, err := p.browser.Get(link)
	resp, body := page(t, got, err)
	if strings.Contains(body, `name="passwd"`) {
		resp, body = p.submit(t, body, "login", p.name, "passwd", p.password)
	}
	if strings.Contains(body, "Permissions requested") {
		resp, body = p.submit(t, body, "decision", "accept")
	}
	if m := formAction.FindStringSubmatch(body); m != nil && resp.StatusCode == http.StatusOK {
		back, err = url.Parse(html.UnescapeString(m[1]))
		check(t, err)
		params = url.Values{}
		for _, m := range hiddenField.FindAllStringSubmatch(body, -1) {
			params.Add(m[1], html.UnescapeString(m[2]))
		}
		return back, params, true
	}
	if back, err = resp.Location(); err != nil {
		t.Fatalf("%d %s: %v", resp.StatusCode, body, err)
	}
	return back, back.Query(), false
}

// deliver signs in and brings the answer to the application that listens for it on loopback.
func (p *person) deliver(t testing.TB, link string) {
	back, params, form := p.signIn(t, link)
	var resp *http.Response
	var err error
	if form {
		resp, err = http.PostForm(back.String(), params)
	} else {
		resp, err = http.Get(back.String())
	}
	if err != nil {
		t.Errorf("the application's listener: %v", err)
		return
	}
	resp.Body.Close()
}

// approve types a device's code in and agrees.
func (p *person) approve(t testing.TB, link, code string) {
	t.Helper()
	got, err := p.browser.Get(link)
	_, body := page(t, got, err)
	_, body = p.submit(t, body, "otc", code)
	if strings.Contains(body, "Password") {
		_, body = p.submit(t, body, "login", p.name, "passwd", p.password)
	}
	if !strings.Contains(body, p.name) {
		t.Errorf("the question does not name the user: %s", body)
	}
	if _, body = p.submit(t, body, "decision", "approve"); !strings.Contains(body, "You have signed in on your device") {
		t.Errorf("%s", body)
	}
}

// TestUserCredentials: a user signs in through azidentity, and may do what the user's roles say.
func TestUserCredentials(t *testing.T) {
	t.Parallel()
	s := start(t)
	ada := s.person(t, "ada", reader)
	tenant := s.Installation().TenantID
	api := s.application(t, map[string]any{"api": map[string]any{"oauth2PermissionScopes": []any{map[string]any{
		"id": uuid.NewString(), "value": "read", "type": "User", "isEnabled": true,
		"adminConsentDisplayName": "Read", "adminConsentDescription": "Read", "userConsentDisplayName": "Read", "userConsentDescription": "Read",
	}}}})

	device, err := azidentity.NewDeviceCodeCredential(&azidentity.DeviceCodeCredentialOptions{
		ClientOptions: s.ClientOptions(), TenantID: tenant, ClientID: azureCLIClient, DisableInstanceDiscovery: true,
		UserPrompt: func(_ context.Context, m azidentity.DeviceCodeMessage) error {
			ada.approve(t, m.VerificationURL, m.UserCode)
			return nil
		},
	})
	check(t, err)
	//lint:ignore SA1019 programs use it as long as it is there
	password, err := azidentity.NewUsernamePasswordCredential(tenant, azureCLIClient, ada.name, ada.password, &azidentity.UsernamePasswordCredentialOptions{
		ClientOptions: s.ClientOptions(), DisableInstanceDiscovery: true,
	})
	check(t, err)
	forAPI, err := password.GetToken(t.Context(), policy.TokenRequestOptions{Scopes: []string{"api://" + api.clientID + "/read"}})
	check(t, err)
	onBehalf, err := azidentity.NewOnBehalfOfCredentialWithSecret(tenant, api.clientID, forAPI.Token, api.secret, &azidentity.OnBehalfOfCredentialOptions{
		ClientOptions: s.ClientOptions(), DisableInstanceDiscovery: true,
	})
	check(t, err)
	if _, err := onBehalf.GetToken(t.Context(), tokenFor("https://management.azure.com")); err == nil || !strings.Contains(err.Error(), "AADSTS65001") {
		t.Errorf("on behalf of a user who has not consented: %v", err)
	}
	granted := s.permit(t, api, armResource, "")
	for name, cred := range map[string]azcore.TokenCredential{"device code": device, "name and password": password, "on behalf of": onBehalf} {
		if c := claims(t, s.token(t, cred, "https://management.azure.com")); c["oid"] != ada.id || c["idtyp"] != "user" || c["name"] != "Ada Lovelace" {
			t.Errorf("%s: claims %v", name, c)
		}
		groups, err := armresources.NewResourceGroupsClient(s.sub, cred, s.options())
		check(t, err)
		if _, err := groups.Get(t.Context(), s.group, nil); err != nil {
			t.Errorf("%s: a reader reads: %v", name, err)
		}
		_, err = groups.CreateOrUpdate(t.Context(), "more", armresources.ResourceGroup{Location: to.Ptr(location)}, nil)
		refused(t, err, http.StatusForbidden, "AuthorizationFailed", ada.id)
	}
	if _, err := password.GetToken(t.Context(), policy.TokenRequestOptions{Scopes: []string{"https://vault.azure.net/.default"}}); err != nil {
		t.Errorf("another resource, by refresh token: %v", err)
	}
	// Without the grant the application's tokens are over.
	groups, err := armresources.NewResourceGroupsClient(s.sub, onBehalf, s.options())
	check(t, err)
	s.graph(t, "DELETE", "oauth2PermissionGrants/"+granted, nil, http.StatusNoContent)
	_, err = groups.Get(t.Context(), s.group, nil)
	refused(t, err, http.StatusUnauthorized, "")

	//lint:ignore SA1019 programs use it as long as it is there
	wrong, err := azidentity.NewUsernamePasswordCredential(tenant, azureCLIClient, ada.name, "wrong", &azidentity.UsernamePasswordCredentialOptions{
		ClientOptions: s.ClientOptions(), DisableInstanceDiscovery: true,
	})
	check(t, err)
	if _, err := wrong.GetToken(t.Context(), tokenFor("https://management.azure.com")); err == nil || !strings.Contains(err.Error(), "AADSTS50126") {
		t.Errorf("wrong password: %v", err)
	}

	// Disabled, the user is refused with the next request, whatever tokens there are.
	s.graph(t, "PATCH", "users/"+ada.id, map[string]any{"accountEnabled": false}, http.StatusNoContent)
	groups, err = armresources.NewResourceGroupsClient(s.sub, device, s.options())
	check(t, err)
	_, err = groups.Get(t.Context(), s.group, nil)
	refused(t, err, http.StatusUnauthorized, "")

	// Enabled again, until the sign-ins are revoked.
	s.graph(t, "PATCH", "users/"+ada.id, map[string]any{"accountEnabled": true}, http.StatusNoContent)
	_, err = groups.Get(t.Context(), s.group, nil)
	check(t, err)
	s.graph(t, "POST", "users/"+ada.id+"/revokeSignInSessions", nil, http.StatusOK)
	_, err = groups.Get(t.Context(), s.group, nil)
	refused(t, err, http.StatusUnauthorized, "")
}

// TestAuthorizationCodeFlow: MSAL's interactive flow with its own listener on loopback, and a web server's.
func TestAuthorizationCodeFlow(t *testing.T) {
	t.Parallel()
	s := start(t)
	ada := s.person(t, "ada", reader)
	authority := s.URLs().Login() + "/" + s.Installation().TenantID
	scopes := []string{"https://management.azure.com/.default"}

	program, err := public.New(azureCLIClient, public.WithAuthority(authority), public.WithHTTPClient(s.HTTPClient()), public.WithInstanceDiscovery(false))
	check(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	first, err := program.AcquireTokenInteractive(ctx, scopes, public.WithOpenURL(func(link string) error {
		go ada.deliver(t, link)
		return nil
	}))
	check(t, err)
	if first.Account.PreferredUsername != ada.name || first.Account.LocalAccountID == "" || first.IDToken.Oid != ada.id {
		t.Errorf("account %+v, ID token %+v", first.Account, first.IDToken)
	}
	silent, err := program.AcquireTokenSilent(t.Context(), []string{"https://vault.azure.net/.default"}, public.WithSilentAccount(first.Account))
	check(t, err)
	if claims(t, silent.AccessToken)["aud"] != "https://vault.azure.net" {
		t.Error("the refresh token gave a token for another resource")
	}

	app := s.application(t, map[string]any{"web": map[string]any{"redirectUris": []any{webRedirect}}})
	cred, err := confidential.NewCredFromSecret(app.secret)
	check(t, err)
	web, err := confidential.New(authority, app.clientID, cred, confidential.WithHTTPClient(s.HTTPClient()), confidential.WithInstanceDiscovery(false))
	check(t, err)
	link, err := web.AuthCodeURL(t.Context(), app.clientID, webRedirect, scopes)
	check(t, err)
	_, params, _ := ada.signIn(t, link) // without a password: she is signed in
	code := params.Get("code")
	got, err := web.AcquireTokenByAuthCode(t.Context(), code, webRedirect, scopes)
	check(t, err)
	if c := claims(t, got.AccessToken); c["oid"] != ada.id || c["appid"] != app.clientID || c["appidacr"] != "1" {
		t.Errorf("claims %v", c)
	}
	if _, err := web.AcquireTokenByAuthCode(t.Context(), code, webRedirect, scopes); err == nil || !strings.Contains(err.Error(), "AADSTS54005") {
		t.Errorf("the second use of the code: %v", err)
	}
	s.graph(t, "PATCH", "users/"+ada.id, map[string]any{"passwordProfile": map[string]any{"password": "Another horse", "forceChangePasswordNextSignIn": false}}, http.StatusNoContent)
	if _, err := program.AcquireTokenSilent(t.Context(), []string{"https://storage.azure.com/.default"}, public.WithSilentAccount(first.Account)); err == nil || !strings.Contains(err.Error(), "AADSTS50173") {
		t.Errorf("the refresh token after a new password: %v", err)
	}
}

// TestNodeSignIn runs msal-node as a program, as a device and as an API.
func TestNodeSignIn(t *testing.T) {
	t.Parallel()
	s := start(t)
	ada := s.person(t, "ada", reader)
	api := s.application(t, map[string]any{
		"identifierUris": []any{"api://orders"},
		"api": map[string]any{"oauth2PermissionScopes": []any{map[string]any{
			"id": uuid.NewString(), "value": "read", "type": "User", "isEnabled": true,
			"adminConsentDisplayName": "Read", "adminConsentDescription": "Read", "userConsentDisplayName": "Read", "userConsentDescription": "Read",
		}}},
	})
	s.permit(t, api, armResource, ada.id)
	f := s.foreign(t)
	program, args := node(t, "signin.mjs", s.Installation().TenantID, azureCLIClient, api.clientID)
	cmd := exec.CommandContext(t.Context(), program, args...)
	cmd.Dir, cmd.Env = f.dir, append(f.env, "NODE_USE_ENV_PROXY=1", "NODE_NO_WARNINGS=1", "SECRET="+api.secret)
	out := conversation(t, cmd, map[string]func(rest string){
		"LINK ": func(link string) {
			ada.deliver(t, strings.Replace(link, "https://login.microsoftonline.com", s.URLs().Login(), 1))
		},
		"CODE ": func(code string) { ada.approve(t, s.URLs().Login()+"/devicelogin", code) },
	})
	want := map[string]any{
		"interactive": list(ada.name, ada.id, "https://management.azure.com"), "silent": "https://vault.azure.net", "device": ada.id,
		"api": list("api://orders", "read"), "on behalf of": list(ada.id, api.clientID, "https://management.azure.com"), "twice": true, "wrong verifier": "invalid_grant",
	}
	got := found(t, out)
	for name, value := range want {
		if d := cmp.Diff(value, got[name]); d != "" {
			t.Errorf("%s: %s", name, d)
		}
	}
}

// conversation runs a program whose lines of output, or of error output, ask for something, and returns what it wrote to
// its output besides.
func conversation(t testing.TB, cmd *exec.Cmd, answers map[string]func(rest string)) string {
	t.Helper()
	read, write := io.Pipe()
	cmd.Stdout, cmd.Stderr = write, write
	check(t, cmd.Start())
	var lines []string
	var reading sync.WaitGroup
	reading.Add(1)
	go func() {
		defer reading.Done()
		for scan := bufio.NewScanner(read); scan.Scan(); {
			line, asked := scan.Text(), false
			for mark, answer := range answers {
				if _, rest, ok := strings.Cut(line, mark); ok {
					asked = true
					answer(rest)
				}
			}
			if !asked {
				lines = append(lines, line)
			}
		}
	}()
	err := cmd.Wait()
	write.Close()
	reading.Wait()
	out := strings.Join(lines, "\n")
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return out
}

// TestAzureCLIUser: Debian's az signs a user in by name and password, and by a device's code.
func TestAzureCLIUser(t *testing.T) {
	t.Parallel()
	s := start(t)
	ada := s.person(t, "ada", reader)
	a := s.foreign(t).azureCLI(t)
	a.prints(t, a.sub+"\tuser", "login --query [].[id,user.type] -u "+ada.name+" -p", ada.password)
	a.prints(t, ada.name, "account show --query user.name")
	a.prints(t, "rg", "group list --query [].name")
	a.fails(t, "AuthorizationFailed", "group create -n more -l westeurope")
	a.prints(t, ada.id, "ad signed-in-user show --query id")
	a.az(t, "account get-access-token --resource https://vault.azure.net")
	a.az(t, "logout")
	a.fails(t, "AADSTS50126", "login -u "+ada.name+" -p wrong")

	device := s.foreign(t)
	cmd := exec.CommandContext(t.Context(), "az", "login", "--use-device-code", "--query", "[].user.name", "-o", "tsv")
	cmd.Dir, cmd.Env = device.dir, append(device.env, "AZURE_CORE_ONLY_SHOW_ERRORS=false")
	prompt := regexp.MustCompile(`open the page (\S+) and enter the code (\S+)`)
	out := conversation(t, cmd, map[string]func(string){"To sign in, use a web browser to ": func(rest string) {
		m := prompt.FindStringSubmatch(rest)
		if m == nil {
			t.Errorf("prompt %q", rest)
			return
		}
		ada.approve(t, strings.Replace(m[1], "https://login.microsoftonline.com", s.URLs().Login(), 1), m[2])
	}})
	if !strings.HasSuffix(out, ada.name) {
		t.Errorf("az login --use-device-code printed %q", out)
	}
	if got := device.run(t, nil, "az", "group", "show", "-n", "rg", "--query", "name", "-o", "tsv"); got != "rg" {
		t.Errorf("az group show printed %q", got)
	}
}

// TestSignInPage drives the sign-in page with Chromium.
func TestSignInPage(t *testing.T) {
	t.Parallel()
	chromium, err := exec.LookPath("chromium")
	if err != nil {
		t.Fatalf("Chromium is missing; run: tools/install.sh chromium (%v)", err)
	}
	s := start(t)
	ada := s.person(t, "ada", reader)
	web := s.application(t, map[string]any{"web": map[string]any{"redirectUris": []any{"http://localhost/cb"}}})
	f := s.foreign(t)
	program, args := node(t, "signinpage.mjs", s.URLs().Login(), s.Installation().TenantID, azureCLIClient, web.clientID, ada.name)
	got := found(t, f.run(t, []string{"CHROMIUM=" + chromium, "PASSWORD=" + ada.password}, program, args...))
	want := map[string]any{
		"wrong": "The user name or password is incorrect.", "labels": list("User name", "Password"), "focus": "login", "errors": list(),
		"code": true, "again": true, "consent": "Access Windows Azure Service Management API as you (Windows Azure Service Management API, user_impersonation)", "form_post": true, "without scripts": true, "framed": false,
		"forged": 403.0, "forged session": false, "signed out": "You signed out", "after": "Sign in", "locked": "This account is temporarily locked to prevent unauthorized use. Try again later.",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}
