terraform {
  required_providers {
    azuread = { source = "hashicorp/azuread" }
  }
}
# Who signs in, and to where, comes from the environment.
provider "azuread" {}

variable "name" { type = string }
variable "note" { type = string }

data "azuread_client_config" "me" {}

resource "azuread_application" "app" {
  display_name     = "${var.name} app ${var.note}"
  sign_in_audience = "AzureADMyOrg"
  owners           = [data.azuread_client_config.me.object_id]
}

resource "azuread_application_registration" "small" {
  display_name = "${var.name} small"
}

resource "azuread_service_principal" "sp" {
  client_id = azuread_application.app.client_id
  owners    = [data.azuread_client_config.me.object_id]
}

resource "azuread_application_password" "app" {
  application_id = azuread_application.app.id
  display_name   = "ci"
}

resource "azuread_service_principal_password" "sp" {
  service_principal_id = azuread_service_principal.sp.id
}

resource "azuread_application_federated_identity_credential" "gh" {
  application_id = azuread_application.app.id
  display_name   = "github"
  description    = var.note
  audiences      = ["api://AzureADTokenExchange"]
  issuer         = "https://token.actions.githubusercontent.com"
  subject        = "repo:o/r:ref:refs/heads/main"
}



resource "azuread_user" "jane" {
  user_principal_name = "${var.name}@${data.azuread_domains.all.domains[0].domain_name}"
  display_name        = "Jane ${var.note}"
  mail_nickname       = "jane"
  password            = "Correct-horse-9"
}

resource "azuread_group" "team" {
  display_name     = "${var.name} team"
  security_enabled = true
  owners           = [data.azuread_client_config.me.object_id]
  members          = [azuread_user.jane.object_id, azuread_service_principal.sp.object_id]
}

resource "azuread_group" "other" {
  display_name     = "${var.name} other ${var.note}"
  security_enabled = true
}
resource "azuread_group_member" "m" {
  group_object_id  = azuread_group.other.object_id
  member_object_id = azuread_user.jane.object_id
}

data "azuread_application" "found" {
  client_id = azuread_application.app.client_id
}
data "azuread_service_principal" "found" {
  display_name = azuread_service_principal.sp.display_name
  depends_on   = [azuread_service_principal.sp]
}
data "azuread_user" "found" {
  user_principal_name = azuread_user.jane.user_principal_name
}
data "azuread_group" "found" {
  display_name = azuread_group.team.display_name
  depends_on   = [azuread_group.team]
}
data "azuread_domains" "all" {}
