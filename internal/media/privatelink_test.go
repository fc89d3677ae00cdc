package media

import "testing"

func TestPrivateEndpointConnections(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.managed()
		c := acct + "/privateEndpointConnections"
		endpoint := group + "/providers/Microsoft.Network/privateEndpoints/e1"
		w.get(c + "/c1").want(404)
		w.put(c+"/c1", asyncV, `{"properties":{"privateEndpoint":{"id":"`+endpoint+`"}}}`).want(200).says(`"status":"Pending"`, `"provisioningState":"Succeeded"`)
		w.put(c+"/c1", asyncV, `{"properties":{"privateLinkServiceConnectionState":{"status":"approved","description":"ours"}}}`).want(200).says(`"status":"Approved"`, endpoint)
		w.get(acct).want(200).says(`"privateEndpointConnections":[{"id":"`+c+`/c1"`, `"description":"ours"`)
		w.get(c).want(200).says(`"name":"c1"`)
		w.put(c+"/c1", asyncV, `{"properties":{"privateLinkServiceConnectionState":{"status":"Maybe"}}}`).want(400)
		w.put(c+"/c2", asyncV, `{"properties":{"privateEndpoint":{"id":"nothing"}}}`).want(400)
		w.serve(w.arm, "PUT", "https://management.keyreel.test"+c+"/c1"+asyncV, "nobody", `{"properties":{}}`).want(403)
		w.do("DELETE", c+"/c1", asyncV, "").want(200)
		w.do("DELETE", c+"/c1", asyncV, "").want(204)
	})
}

func TestPrivateLinkResources(t *testing.T) {
	each(t, func(t *testing.T, w *world) {
		w.managed()
		l := acct + "/privateLinkResources"
		for _, name := range []string{"keydelivery", "liveevent", "streamingendpoint"} {
			w.get(l).want(200).says(`"groupId":"` + name + `"`)
			w.get(l + "/" + name).want(200).says(`"requiredMembers":["` + name + `"]`)
		}
		w.get(l + "/none").want(404)
		w.put(l+"/x", asyncV, `{}`).want(405)
	})
}
